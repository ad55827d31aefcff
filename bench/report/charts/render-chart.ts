import { type EChartsOption, init } from 'echarts';

export const COLORS: readonly string[] = [
  '#1b6e8c',
  '#e08a3c',
  '#7a9e4b',
  '#8a6fb0',
  '#b5485d',
  '#6b7680',
  '#c9a227',
  '#4c9a8f',
];

/** An SVG of the chart; the same option gives the same bytes. */
export function renderChart(option: EChartsOption, { width = 760, height = 360 } = {}): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    color: [...COLORS],
    textStyle: { fontFamily: 'system-ui, sans-serif' },
    ...option,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg}\n`;
}

/** Three digits, as a label wants them. */
export function label(value: number): string {
  return value >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
