/** A part of the document, generated from results. */
export interface Section {
  /** Markdown. */
  readonly text: string;
  /** SVG by name; the text refers to them as `images/NAME.svg`. */
  readonly charts: Readonly<Record<string, string>>;
}
