/** How much an account's containers may have together, and have. */
import { useQuery } from "@tanstack/react-query";
import { queries } from "../api/queries";
import { useText } from "../i18n";
import { Skeleton, Trouble } from "./basic";
import { Use } from "./use";

export function Quota({ account }: { account: string }) {
  const { t, number, cores, bytes } = useText();
  const quota = useQuery(queries.quota(account));
  if (quota.error) return <Trouble error={quota.error} onRetry={quota.refetch} />;
  if (!quota.data) return <Skeleton rows={3} />;
  const { used, limits } = quota.data;
  return (
    <div className="stack">
      <Part name="GPU" used={used.gpus} limit={limits.gpus} write={number} />
      <Part name={t("create.cpus")} used={used.cpu_millis} limit={limits.cpu_millis} write={cores} />
      <Part name={t("create.memory")} used={used.memory_bytes} limit={limits.memory_bytes} write={bytes} />
      <Part name={t("quota.disk")} used={used.disk_bytes ?? 0} limit={limits.disk_bytes} write={bytes} />
      <Part name={t("quota.running")} used={used.running_containers} limit={limits.running_containers} write={number} />
    </div>
  );
}

interface PartProps {
  name: string;
  used: number;
  limit: number | null | undefined;
  write: (value: number) => string;
}

function Part({ name, used, limit, write }: PartProps) {
  const { t } = useText();
  const words =
    limit == null
      ? t("quota.unlimited", { used: write(used) })
      : t("machine.used", { used: write(used), total: write(limit) });
  return (
    <Use name={name} words={words} used={used} limit={limit ?? undefined} isFull={limit != null && used >= limit} />
  );
}
