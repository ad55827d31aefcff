export { allocateWidths, type WidthGroup } from './allocate-widths';
export { averageOfOpen, chooseWidths, openWidths, withWidths } from './choose-widths';
export { type LinearToMeasure, measureWidths, recipesToMeasure } from './measure-widths';
