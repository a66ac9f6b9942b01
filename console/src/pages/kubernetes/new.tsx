/** A namespace of one's own. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Confirm } from "../../parts/dialog";
import { SelectField, TextField } from "../../parts/field";

export function NewNamespace({ onClose, onMade }: { onClose: () => void; onMade?: (name: string) => void }) {
  const { t } = useText();
  const client = useQueryClient();
  const clusters = useQuery(queries.clusters());
  const [name, setName] = useState("");
  const [cluster, setCluster] = useState("");
  return (
    <Confirm
      title={t("kube.namespace_new")}
      act={t("kube.namespace_new")}
      command={`longshore namespace create ${shellWord(name || "NAME")}${cluster ? ` --cluster ${shellWord(cluster)}` : ""}`}
      onClose={onClose}
      why={/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name) ? undefined : t("kube.namespace_rule")}
      onAct={async () => {
        const made = await call(api.POST("/api/v1/namespaces", { body: { name, cluster: cluster || null } }));
        client.invalidateQueries({ queryKey: ["namespaces"] });
        onMade?.(made.name);
      }}
    >
      <TextField
        label={t("field.name")}
        value={name}
        onChange={setName}
        note={t("kube.namespace_note")}
        autoCapitalize="none"
        spellCheck={false}
      />
      <SelectField label={t("kube.cluster")} value={cluster} onChange={setCluster}>
        <option value="">{t("kube.default_cluster")}</option>
        {clusters.data?.data.map((it) => (
          <option key={it.id} value={it.name}>
            {it.name}
          </option>
        ))}
      </SelectField>
    </Confirm>
  );
}
