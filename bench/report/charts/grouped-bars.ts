import { label, renderChart } from './render-chart';

export interface GroupedBars {
  readonly title: string;
  readonly unit: string;
  /** Along the axis. */
  readonly groups: readonly string[];
  /** A bar in each group; null where there is none. */
  readonly series: readonly { readonly name: string; readonly values: readonly (number | null)[] }[];
  /** When values differ by orders of magnitude. */
  readonly logarithmic?: boolean;
  /** A line across, at this value. */
  readonly reference?: { readonly name: string; readonly value: number };
}

/** Bars side by side, labelled with their values. */
export function groupedBars({ title, unit, groups, series, logarithmic, reference }: GroupedBars): string {
  const values = series.flatMap((one) => one.values).filter((value) => value !== null);
  const smallest = Math.min(...values, reference?.value ?? Number.POSITIVE_INFINITY);
  return renderChart({
    title: {
      text: reference ? `${title} (dashed: ${reference.name})` : title,
      left: 'center',
      textStyle: { fontSize: 15 },
    },
    legend: { bottom: 0, itemGap: 26, data: series.map(({ name }) => name) },
    grid: { left: 65, right: 20, top: 50, bottom: 60 },
    xAxis: { type: 'category', data: [...groups], axisTick: { show: false } },
    yAxis: logarithmic
      ? { type: 'log', name: unit, min: 10 ** Math.floor(Math.log10(smallest)) }
      : { type: 'value', name: unit },
    series: series.map(({ name, values: own }, index) => ({
      type: 'bar',
      name,
      data: own.map((value) => value ?? '-'),
      label: { show: true, position: 'top', formatter: ({ value }) => (typeof value === 'number' ? label(value) : '') },
      ...(index === 0 &&
        reference && {
          markLine: {
            symbol: 'none',
            silent: true,
            lineStyle: { color: '#444', type: 'dashed' },
            label: { show: false },
            data: [{ yAxis: reference.value }],
          },
        }),
    })),
  });
}
