/** The GPU map: a tile for each GPU, with who has it and what it does. */
import { Link } from "react-router";
import type { Gpu } from "../api/client";
import { useText } from "../i18n";
import { paths } from "../paths";
import { gpuTone } from "../states";
import { Badge, Foreign, Meter, When } from "./basic";
import { usersOf } from "./gpu-users";

export function GpuTile({ gpu, machine }: { gpu: Gpu; machine?: string }) {
  const { t, word, bytes, number, moment } = useText();
  const MIB = 1024 * 1024;
  const used = gpu.memory_used ?? 0;
  const users = usersOf(gpu, t("gpu.others"), t("gpu.somebody"));
  const words = t("gpu.memory", { used: bytes(used * MIB), total: bytes(gpu.memory * MIB) });
  const split = users.map((it) => `${it.name}: ${bytes(it.memory * MIB)}`).join(", ");
  return (
    <article className={`tile ${gpu.state}`} aria-label={`${gpu.type} ${gpu.key}`}>
      <div className="row apart">
        <strong className="clip" title={gpu.uuid ?? undefined}>
          {gpu.key} · {gpu.type.replace(/^NVIDIA /, "")}
        </strong>
      </div>
      <div className="row apart">
        <Badge tone={gpuTone(gpu.state)}>{word("gpu", gpu.state)}</Badge>
        {machine && (
          <span className="soft small clip">
            <Foreign text={machine} />
          </span>
        )}
      </div>
      <Meter
        parts={users.map((it) => ({ value: it.memory, kind: it.kind }))}
        total={gpu.memory}
        label={split ? `${words} (${split})` : words}
      />
      <div className="small soft">{words}</div>
      {users.length > 1 && (
        <ul className="small soft gpu-users">
          {users.map((it) => (
            <li key={it.name} className="row apart">
              <span className="clip">
                <i className={`dot ${it.kind ?? ""}`} /> <Foreign text={it.name} />
              </span>
              <span>{bytes(it.memory * MIB)}</span>
            </li>
          ))}
        </ul>
      )}
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
