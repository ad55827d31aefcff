export { planModel } from './plan-model';
export { resolveRecipe } from './resolve-recipe';
