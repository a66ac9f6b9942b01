/** Another name, or other limits, for a container that is there. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Container, call } from "../../api/client";
import { parseBytes, shellBytes, shellWord } from "../../format";
import { useText } from "../../i18n";
import { Confirm } from "../../parts/dialog";
import { TextField } from "../../parts/field";

export function EditDialog({ container, onClose }: { container: Container; onClose: () => void }) {
  const { t } = useText();
  const client = useQueryClient();
  const [name, setName] = useState(container.name);
  const [shown, setShown] = useState(container.display_name ?? "");
  const [memory, setMemory] = useState(shellBytes(container.memory_bytes));
  const [cpus, setCpus] = useState(String(container.cpu_millis / 1000));
  const size = parseBytes(memory);
  const cores = Number(cpus);
  const isWrong = size === undefined || !(cores > 0);
  return (
    <Confirm
      title={t("container.edit")}
      act={t("act.save")}
      command={[
        `longshore container update ${shellWord(container.name)}`,
        size !== undefined && `--memory ${shellBytes(size)}`,
        cores > 0 && `--cpus ${cores}`,
      ]
        .filter(Boolean)
        .join(" ")}
      onClose={onClose}
      why={isWrong ? t("create.wrong") : undefined}
      onAct={async () => {
        const body = {
          ...(name === container.name ? {} : { name }),
          ...(shown === (container.display_name ?? "") ? {} : { display_name: shown || null }),
          ...(size === container.memory_bytes ? {} : { memory_bytes: size }),
          ...(Math.round(cores * 1000) === container.cpu_millis ? {} : { cpu_millis: Math.round(cores * 1000) }),
        };
        const params = { path: { id: String(container.id) } };
        const changed = await call(api.PATCH("/api/v1/containers/{id}", { params, body }));
        client.setQueryData(["container", String(container.id)], changed);
        client.invalidateQueries({ queryKey: ["containers"] });
      }}
    >
      <div className="form-row">
        <TextField label={t("field.name")} value={name} onChange={setName} autoCapitalize="none" spellCheck={false} />
        <TextField label={t("field.display_name")} value={shown} onChange={setShown} maxLength={100} />
      </div>
      <div className="form-row">
        <TextField
          label={t("create.memory")}
          value={memory}
          onChange={setMemory}
          wrong={size === undefined ? t("create.wrong_size") : undefined}
        />
        <TextField
          label={t("create.cpus")}
          value={cpus}
          onChange={setCpus}
          wrong={cores > 0 ? undefined : t("create.wrong_cores")}
          inputMode="decimal"
        />
      </div>
      <p className="soft small">{t("container.edit_note")}</p>
    </Confirm>
  );
}
