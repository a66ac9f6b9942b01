/** The GPU map: a tile for each GPU, with who has it and what it does. */
import { Link } from "react-router";
import type { Gpu } from "../api/client";
import { useText } from "../i18n";
import { paths } from "../paths";
import { gpuTone } from "../states";
import { Badge, Foreign, Meter, When } from "./basic";

export function GpuTile({ gpu, machine }: { gpu: Gpu; machine?: string }) {
  const { t, word, bytes, number, moment } = useText();
  const MIB = 1024 * 1024;
  const used = gpu.memory_used ?? 0;
  const ours = gpu.processes.filter((it) => it.container_id != null).reduce((sum, it) => sum + (it.memory ?? 0), 0);
  const words = t("gpu.memory", { used: bytes(used * MIB), total: bytes(gpu.memory * MIB) });
  return (
    <article className={`tile ${gpu.state}`} aria-label={`${gpu.type} ${gpu.key}`}>
      <div className="row apart">
        <strong className="clip" title={gpu.uuid ?? undefined}>
          {gpu.key} · {gpu.type.replace(/^NVIDIA /, "")}
        </strong>
      </div>
      <div className="row apart">
        <Badge tone={gpuTone(gpu.state)}>{word("gpu", gpu.state)}</Badge>
        {machine && <span className="soft small clip">{machine}</span>}
      </div>
      <Meter
        parts={[
          { value: Math.min(ours, used) },
          { value: Math.max(0, used - ours), kind: gpu.state === "leased" ? undefined : "other" },
        ]}
        total={gpu.memory}
        label={words}
      />
      <div className="row apart small soft">
        <span>{words}</span>
      </div>
      <div className="row small soft">
        {gpu.utilization_percent != null && <span>{t("gpu.load", { percent: number(gpu.utilization_percent) })}</span>}
        {gpu.temperature_celsius != null && <span>{gpu.temperature_celsius} °C</span>}
        {gpu.power_watts != null && <span>{gpu.power_watts} W</span>}
      </div>
      {gpu.lease && (
        <div className="small">
          {gpu.lease.container_id != null ? (
            <Link to={paths.container(gpu.lease.container_id)}>
              <Foreign text={`${gpu.lease.account ?? ""} / ${gpu.lease.container ?? gpu.lease.container_id}`} />
            </Link>
          ) : (
            <span className="soft">{t("gpu.somebody")}</span>
          )}{" "}
          <span className="soft">
            {gpu.lease.until ? t("gpu.until", { until: moment(gpu.lease.until) }) : <When at={gpu.lease.since} />}
          </span>
        </div>
      )}
    </article>
  );
}
