/** What a container uses: the last hour, and each second while somebody looks. */
import { useEffect, useState } from "react";
import type { Container, Sample } from "../../api/client";
import { follow } from "../../api/stream";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Card, Empty } from "../../parts/basic";
import { Chart } from "../../parts/chart";
import { CommandLine } from "../../parts/command";

const MOST = 4000;

export function Statistics({ container }: { container: Container }) {
  const { t, bytes, number, cores } = useText();
  const [samples, setSamples] = useState<Sample[]>([]);
  const { id } = container;

  useEffect(() => {
    const over = new AbortController();
    follow(
      {
        url: () => `/api/v1/containers/${id}/stats`,
        last: "end",
        onEvent: ({ name, data }) => {
          if (name === "history") setSamples(JSON.parse(data));
          else if (name === "sample") {
            const sample: Sample = JSON.parse(data);
            setSamples((samples) => [...samples.slice(-MOST), sample]);
          }
        },
      },
      over.signal,
    );
    return () => over.abort();
  }, [id]);

  const last = samples.at(-1);
  if (!last)
    return (
      <Empty icon="chart" title={t("container.stats")}>
        {t("stats.none")}
      </Empty>
    );
  const times = samples.map((sample) => Date.parse(sample.at) / 1000);
  return (
    <div className="stack">
      <div className="row apart">
        <span className="soft">
          {t("stats.processes")}: {number(last.pids)}
        </span>
        <CommandLine
          command={`longshore container stats ${shellWord(container.name)} --follow`}
          request={{ method: "GET", path: `/api/v1/containers/${id}/stats` }}
        />
      </div>
      <div className="charts">
        <Card title={`${t("stats.cpu")} · ${cores(last.cpu_millis)} / ${cores(container.cpu_millis)}`}>
          <Chart
            label={t("stats.cpu")}
            times={times}
            lines={[{ name: t("stats.cpu"), values: samples.map((it) => it.cpu_millis) }]}
            write={cores}
            most={container.cpu_millis}
          />
        </Card>
        <Card title={`${t("stats.memory")} · ${bytes(last.memory_bytes)} / ${bytes(last.memory_limit_bytes)}`}>
          <Chart
            label={t("stats.memory")}
            times={times}
            lines={[{ name: t("stats.memory"), values: samples.map((it) => it.memory_bytes) }]}
            write={bytes}
            most={last.memory_limit_bytes}
          />
        </Card>
        <Card title={t("stats.network")}>
          <Chart
            label={t("stats.network")}
            times={times}
            lines={[
              { name: t("stats.received"), values: rates(samples, (it) => it.network_received_bytes) },
              { name: t("stats.sent"), values: rates(samples, (it) => it.network_sent_bytes) },
            ]}
            write={bytes}
          />
        </Card>
        <Card title={t("stats.disk")}>
          <Chart
            label={t("stats.disk")}
            times={times}
            lines={[
              { name: t("stats.read"), values: rates(samples, (it) => it.disk_read_bytes) },
              { name: t("stats.written"), values: rates(samples, (it) => it.disk_written_bytes) },
            ]}
            write={bytes}
          />
        </Card>
      </div>
    </div>
  );
}

/** What came in a second, from sums; a container that was started again begins at nothing. */
export function rates(samples: Sample[], sum: (sample: Sample) => number): (number | null)[] {
  return samples.map((sample, index) => {
    const before = samples[index - 1];
    if (!before) return null;
    const seconds = (Date.parse(sample.at) - Date.parse(before.at)) / 1000;
    const more = sum(sample) - sum(before);
    return seconds > 0 && more >= 0 ? more / seconds : null;
  });
}
