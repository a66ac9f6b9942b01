/** Lines over time. */
import "uplot/dist/uPlot.min.css";
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import { useText } from "../i18n";

interface ChartProps {
  label: string;
  /** Seconds since 1970. */
  times: number[];
  lines: { name: string; values: (number | null)[] }[];
  write: (value: number) => string;
  /** The end of the scale, when there is one. */
  most?: number;
}

const COLOURS = ["--accent", "--warn"];

export function Chart({ label, times, lines, write, most }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const writer = useRef(write);
  writer.current = write;
  const { clock: time } = useText();
  const clock = useRef(time);
  clock.current = time;
  const names = lines.map((line) => line.name).join("\n");

  useEffect(() => {
    const box = place.current;
    if (!box) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(name);
    const axis = {
      stroke: colour("--text-soft"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
    };
    const chart = new uPlot(
      {
        width: box.clientWidth,
        height: 180,
        scales: {
          // A few minutes at least: a first sample has no span of its own.
          x: {
            range: (_, from, to) => [
              Math.min(from ?? Date.now() / 1000, (to ?? Date.now() / 1000) - 300),
              to ?? Date.now() / 1000,
            ],
          },
          y: { range: (_, __, top) => [0, Math.max(top * 1.1, most ? most * 0.1 : 1024)] },
        },
        legend: { show: names.includes("\n"), live: false },
        axes: [
          { ...axis, values: (_, splits) => splits.map((at) => clock.current(at * 1000)) },
          { ...axis, size: 74, values: (_, splits) => splits.map((value) => writer.current(value)) },
        ],
        series: [
          {},
          ...names.split("\n").map((name, index) => ({
            label: name,
            stroke: colour(COLOURS[index] ?? "--busy"),
            width: 2,
            fill: index === 0 ? `${colour("--accent")}22` : undefined,
            points: { show: false },
            value: (_: uPlot, value: number | null) => (value == null ? "–" : writer.current(value)),
          })),
        ],
      },
      [[], ...names.split("\n").map(() => [])],
      box,
    );
    plot.current = chart;
    const observer = new ResizeObserver(() => chart.setSize({ width: box.clientWidth, height: 180 }));
    observer.observe(box);
    return () => {
      observer.disconnect();
      chart.destroy();
    };
  }, [names, most]);

  useEffect(() => {
    plot.current?.setData([times, ...lines.map((line) => line.values)]);
  }, [times, lines]);

  return <div ref={place} role="img" aria-label={label} />;
}
