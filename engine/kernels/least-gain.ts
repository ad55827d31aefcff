/** What replaces something has to be better by this share of the row's error: less is noise, in which two ways to compute could differ. */
export const LEAST_GAIN = 1e-9;
