/** The keys by which signed charts are verified: those of a repository, and those that count for every one. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, done, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button, Card, Foreign, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { AreaField } from "../../parts/field";

type Key = Schemas["ChartKeyView"];

export function ChartKeys({ repo, mayAdd }: { repo?: string; mayAdd: boolean }) {
  const { t } = useText();
  const client = useQueryClient();
  const keys = useQuery(queries.chartKeys(repo));
  const [isAdding, setAdding] = useState(false);
  const [leaving, setLeaving] = useState<Key>();
  const refresh = () => client.invalidateQueries({ queryKey: ["chart-keys"] });
  return (
    <Card
      title={t("chart.keys")}
      flush
      action={
        <span className="row">
          <CommandLine
            command={`longshore chart key list${repo ? ` --repo ${shellWord(repo)}` : ""}`}
            request={{ method: "GET", path: `/api/v1/chart-keys${repo ? `?repo=${encodeURIComponent(repo)}` : ""}` }}
          />
          <Button small icon="plus" why={mayAdd ? undefined : t("image.not_yours")} onClick={() => setAdding(true)}>
            {t("chart.key_add")}
          </Button>
        </span>
      }
    >
      {keys.error && <Trouble error={keys.error} onRetry={keys.refetch} />}
      {keys.data?.total === 0 && <p className="card-body soft">{t("chart.keys_empty")}</p>}
      <ul className="lines">
        {keys.data?.data.map((it) => (
          <li key={it.id} className="row">
            <div className="grow">
              <Foreign text={it.identity} />
              <div className="soft small wrap">
                <code>{it.fingerprint.slice(-16)}</code> · {!it.repo_id && `${t("chart.key_everywhere")} · `}
                <When at={it.created_at} />
              </div>
            </div>
            <Button small kind="danger" icon="trash" onClick={() => setLeaving(it)}>
              {t("act.delete")}
            </Button>
          </li>
        ))}
      </ul>
      {isAdding && <AddKey repo={repo} onClose={() => setAdding(false)} onAdded={refresh} />}
      {leaving && (
        <Confirm
          title={t("chart.delete", { name: leaving.identity })}
          act={t("act.delete")}
          command={`longshore chart key delete ${leaving.id}`}
          danger
          onClose={() => setLeaving(undefined)}
          onAct={async () => {
            await done(api.DELETE("/api/v1/chart-keys/{id}", { params: { path: { id: leaving.id } } }));
            refresh();
          }}
        >
          <p>{t("chart.key_delete_note")}</p>
        </Confirm>
      )}
    </Card>
  );
}

function AddKey({ repo, onClose, onAdded }: { repo?: string; onClose: () => void; onAdded: () => void }) {
  const { t } = useText();
  const [key, setKey] = useState("");
  return (
    <Confirm
      title={t("chart.key_add")}
      act={t("chart.key_add")}
      command={`longshore chart key add FILE${repo ? ` --repo ${shellWord(repo)}` : ""}`}
      why={key.trim() ? undefined : t("chart.key_first")}
      onClose={onClose}
      onAct={async () => {
        await call(api.POST("/api/v1/chart-keys", { body: { key, repo } }));
        onAdded();
      }}
    >
      <AreaField
        label={t("chart.key")}
        value={key}
        onChange={setKey}
        note={t("chart.key_note")}
        rows={6}
        spellCheck={false}
      />
    </Confirm>
  );
}
