/** An account's quota: what it may have and has, and another one. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { parseBytes, shellBytes, shellWord } from "../../format";
import { useText } from "../../i18n";
import { Skeleton } from "../../parts/basic";
import { Confirm, Dialog } from "../../parts/dialog";
import { SelectField, TextField } from "../../parts/field";
import { Quota } from "../../parts/quota";
import { useToast } from "../../parts/toasts";

type Class = Schemas["AccountClass"];
const classes: Class[] = ["high", "normal", "low"];
const isClass = (text: string): text is Class => classes.some((it) => it === text);

export function QuotaDialog({ account, onClose }: { account: string; onClose: () => void }) {
  const { t } = useText();
  const quota = useQuery(queries.quota(account));
  if (quota.data) return <QuotaForm quota={quota.data} onClose={onClose} />;
  return (
    <Dialog title={t("quota.title")} onClose={onClose}>
      <Skeleton />
    </Dialog>
  );
}

/** A whole number as it is typed; nothing is the server's own limit. */
function whole(text: string): number | null | undefined {
  if (text.trim() === "") return null;
  return /^\d+$/.test(text.trim()) ? Number(text) : undefined;
}

function QuotaForm({ quota, onClose }: { quota: Schemas["QuotaView"]; onClose: () => void }) {
  const { t } = useText();
  const client = useQueryClient();
  const toast = useToast();
  const { own } = quota;
  const [group, setGroup] = useState<Class>(quota.class);
  const [gpus, setGpus] = useState(own.gpus?.toString() ?? "");
  const [cpus, setCpus] = useState(own.cpu_millis != null ? String(own.cpu_millis / 1000) : "");
  const [memory, setMemory] = useState(own.memory_bytes != null ? shellBytes(own.memory_bytes) : "");
  const [disk, setDisk] = useState(own.disk_bytes != null ? shellBytes(own.disk_bytes) : "");
  const [running, setRunning] = useState(own.running_containers?.toString() ?? "");
  const cores = cpus.trim() === "" ? null : Number(cpus) >= 0 ? Math.round(Number(cpus) * 1000) : undefined;
  const size = (text: string) => (text.trim() === "" ? null : parseBytes(text));
  const limits = {
    gpus: whole(gpus),
    cpu_millis: cores,
    memory_bytes: size(memory),
    running_containers: whole(running),
    disk_bytes: size(disk),
  };
  const command = () => {
    const parts = [`longshore account quota ${shellWord(quota.account)}`, `--class ${group}`];
    if (limits.gpus != null) parts.push(`--gpus ${limits.gpus}`);
    if (limits.cpu_millis != null) parts.push(`--cpus ${limits.cpu_millis / 1000}`);
    if (limits.memory_bytes != null) parts.push(`--memory ${shellBytes(limits.memory_bytes)}`);
    if (limits.disk_bytes != null) parts.push(`--disk ${shellBytes(limits.disk_bytes)}`);
    if (limits.running_containers != null) parts.push(`--running ${limits.running_containers}`);
    return parts.join(" ");
  };
  const isWrong = Object.values(limits).some((value) => value === undefined);
  return (
    <Confirm
      title={`${t("quota.title")}: ${quota.account}`}
      act={t("act.save")}
      command={command()}
      onClose={onClose}
      why={isWrong ? t("create.wrong") : undefined}
      onAct={async () => {
        const params = { path: { account: quota.account } };
        await call(api.PUT("/api/v1/accounts/{account}/quota", { params, body: { class: group, ...limits } }));
        client.invalidateQueries({ queryKey: ["quota", quota.account] });
        toast(t("said.saved"));
      }}
    >
      <Quota account={quota.account} />
      <p className="soft small">{t("quota.note")}</p>
      <div className="form-row">
        <TextField
          label="GPU"
          value={gpus}
          onChange={setGpus}
          wrong={limits.gpus === undefined ? t("quota.whole") : undefined}
          inputMode="numeric"
        />
        <TextField
          label={t("create.cpus")}
          value={cpus}
          onChange={setCpus}
          wrong={limits.cpu_millis === undefined ? t("create.wrong_cores") : undefined}
          inputMode="decimal"
        />
        <TextField
          label={t("create.memory")}
          value={memory}
          onChange={setMemory}
          wrong={limits.memory_bytes === undefined ? t("create.wrong_size") : undefined}
          placeholder="16g"
        />
        <TextField
          label={t("quota.disk")}
          value={disk}
          onChange={setDisk}
          wrong={limits.disk_bytes === undefined ? t("create.wrong_size") : undefined}
          placeholder="200g"
        />
        <TextField
          label={t("quota.running")}
          value={running}
          onChange={setRunning}
          wrong={limits.running_containers === undefined ? t("quota.whole") : undefined}
          inputMode="numeric"
        />
      </div>
      <SelectField
        label={t("quota.class")}
        value={group}
        note={t("quota.class_note")}
        onChange={(value) => isClass(value) && setGroup(value)}
      >
        {classes.map((it) => (
          <option key={it} value={it}>
            {t(`quota.${it}`)}
          </option>
        ))}
      </SelectField>
    </Confirm>
  );
}
