export { planModel } from './plan-model';
export { leavesBitsOpen, resolveRecipe } from './resolve-recipe';
export { solvePartsFor } from './solve-parts';
export { forwardOperations, gramMultiplications } from './stage-operations';
