/** Who is told how the runs of a git repository end. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, done, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Badge, Button, Card, Foreign, Trouble, When } from "../../parts/basic";
import { Confirm } from "../../parts/dialog";
import { SelectField, TextField } from "../../parts/field";
import { useComplaint } from "../../parts/toasts";

type Target = Schemas["NotificationTargetView"];
type Kind = Schemas["NotificationKind"];
const kinds: Kind[] = ["feishu", "dingtalk", "wecom", "email", "webhook"];

export function Notifications({ id, repo }: { id: number; repo: string }) {
  const { t } = useText();
  const client = useQueryClient();
  const complain = useComplaint();
  const targets = useQuery(queries.notifications(id));
  const [isAdding, setAdding] = useState(false);
  const [leaving, setLeaving] = useState<Target>();
  const refresh = () => client.invalidateQueries({ queryKey: ["git-repo", String(id), "notifications"] });
  const path = (target: Target) => ({ params: { path: { id, target: target.id } } });
  return (
    <Card
      title={t("notify.title")}
      flush
      action={
        <Button small icon="plus" onClick={() => setAdding(true)}>
          {t("notify.add")}
        </Button>
      }
    >
      {targets.error && <Trouble error={targets.error} onRetry={targets.refetch} />}
      {targets.data?.length === 0 && <p className="card-body soft">{t("notify.empty")}</p>}
      <ul className="lines">
        {targets.data?.map((it) => (
          <li key={it.id} className="row">
            <div className="grow">
              <Badge tone="idle">{t(`notify.${it.kind}`)}</Badge> <Foreign text={it.address} />
              <div className="soft small">
                {it.last_result ? <Foreign text={t("notify.sent", { result: it.last_result })} /> : t("notify.never")}
                {it.last_at && (
                  <>
                    {" · "}
                    <When at={it.last_at} />
                  </>
                )}
              </div>
            </div>
            <Button
              small
              onClick={() =>
                call(api.POST("/api/v1/git-repos/{id}/notifications/{target}/test", path(it))).then(refresh, complain)
              }
            >
              {t("notify.test")}
            </Button>
            <Button small icon="trash" kind="danger" onClick={() => setLeaving(it)}>
              {t("act.delete")}
            </Button>
          </li>
        ))}
      </ul>
      {isAdding && <AddDialog id={id} repo={repo} onClose={() => setAdding(false)} onAdded={refresh} />}
      {leaving && (
        <Confirm
          title={t("notify.delete", { address: leaving.address })}
          act={t("act.delete")}
          command={`longshore notification remove ${shellWord(repo)} ${leaving.id}`}
          danger
          onClose={() => setLeaving(undefined)}
          onAct={async () => {
            await done(api.DELETE("/api/v1/git-repos/{id}/notifications/{target}", path(leaving)));
            refresh();
          }}
        >
          <p>{t("notify.note")}</p>
        </Confirm>
      )}
    </Card>
  );
}

interface AddProps {
  id: number;
  repo: string;
  onClose: () => void;
  onAdded: () => void;
}

function AddDialog({ id, repo, onClose, onAdded }: AddProps) {
  const { t } = useText();
  const [kind, setKind] = useState<Kind>("feishu");
  const [address, setAddress] = useState("");
  const [secret, setSecret] = useState("");
  return (
    <Confirm
      title={t("notify.add")}
      act={t("notify.add")}
      command={`longshore notification add ${shellWord(repo)} ${kind}${secret.trim() ? " --secret FILE" : ""} <ADDRESS_FILE`}
      why={address.trim() ? undefined : t("notify.address_first")}
      onClose={onClose}
      onAct={async () => {
        const body = { kind, address: address.trim(), secret: secret.trim() || null };
        await call(api.POST("/api/v1/git-repos/{id}/notifications", { params: { path: { id } }, body }));
        onAdded();
      }}
    >
      <p className="soft">{t("notify.note")}</p>
      <SelectField
        label={t("notify.kind")}
        value={kind}
        onChange={(value) => setKind(kinds.find((it) => it === value) ?? kind)}
      >
        {kinds.map((it) => (
          <option key={it} value={it}>
            {t(`notify.${it}`)}
          </option>
        ))}
      </SelectField>
      <TextField
        label={kind === "email" ? t("notify.address_email") : t("notify.address")}
        value={address}
        onChange={setAddress}
        type={kind === "email" ? "email" : "url"}
        spellCheck={false}
        autoCapitalize="none"
        required
      />
      {kind !== "email" && kind !== "wecom" && (
        <TextField
          label={t("notify.secret")}
          value={secret}
          onChange={setSecret}
          type="password"
          note={t("notify.secret_note")}
          autoComplete="off"
        />
      )}
    </Confirm>
  );
}
