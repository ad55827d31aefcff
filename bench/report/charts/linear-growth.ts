import { label, renderChart } from './render-chart';

export interface Line {
  readonly intercept: number;
  readonly slope: number;
  /** Coefficient of determination: 1 when every point lies on the line. */
  readonly determination: number;
}

/** Least squares. */
export function fitLine(points: readonly (readonly [number, number])[]): Line {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const sum = (of: (x: number, y: number) => number) =>
    points.reduce((all, [x, y]) => all + of(x - meanX, y - meanY), 0);
  const slope = sum((x, y) => x * y) / sum((x) => x * x);
  const intercept = meanY - slope * meanX;
  const residual = points.reduce((all, [x, y]) => all + (y - intercept - slope * x) ** 2, 0);
  return { intercept, slope, determination: 1 - residual / sum((_, y) => y * y) };
}

export interface LinearGrowth {
  readonly title: string;
  readonly abscissa: string;
  readonly points: readonly (readonly [number, number])[];
}

/** Seconds as points, and the line through them. */
export function linearGrowth({ title, abscissa, points }: LinearGrowth): string {
  const { intercept, slope } = fitLine(points);
  const largest = Math.max(...points.map(([x]) => x));
  const line = [0, largest].map((x) => [x, intercept + slope * x]);
  return renderChart(
    {
      title: { text: title, left: 'center', textStyle: { fontSize: 15 } },
      grid: { left: 60, right: 40, top: 50, bottom: 50 },
      xAxis: { type: 'value', name: abscissa, nameLocation: 'middle', nameGap: 30, min: 0 },
      yAxis: { type: 'value', name: 's', min: 0 },
      series: [
        { type: 'line', data: line, symbol: 'none', lineStyle: { type: 'dashed', width: 1.5 } },
        {
          type: 'scatter',
          data: points.map(([x, y]) => [x, y]),
          symbolSize: 9,
          itemStyle: { opacity: 1 },
          label: { show: true, position: 'top', formatter: ({ value }) => label((value as number[])[1] as number) },
        },
      ],
    },
    { width: 560, height: 340 },
  );
}
