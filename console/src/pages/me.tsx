/** My account: profile, picture, password, API tokens, language and looks. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, call, done, failureOf, secretOf } from "../api/client";
import { queries } from "../api/queries";
import { shellWord } from "../format";
import { languages, setLanguage, useText } from "../i18n";
import { Button, Card, Foreign, Notice, PageHead, Skeleton, Trouble, When } from "../parts/basic";
import { Code } from "../parts/code";
import { CommandLine } from "../parts/command";
import { Confirm, Dialog } from "../parts/dialog";
import { SelectField, TextField } from "../parts/field";
import { useComplaint, useToast } from "../parts/toasts";
import { useMe } from "../shell/session";
import { toggleTheme } from "../shell/theme";

export function Me() {
  const { t } = useText();
  const me = useMe();
  return (
    <>
      <PageHead title={t("nav.me")} note={`${me.account} · ${t(`role.${me.role}`)}`}>
        <CommandLine command="longshore whoami" request={{ method: "GET", path: "/api/v1/me" }} />
      </PageHead>
      <div className="grid-2">
        <div className="stack">
          <Tokens />
          <Password />
        </div>
        <div className="stack">
          <Profile />
          <Looks />
        </div>
      </div>
    </>
  );
}

function Profile() {
  const { t } = useText();
  const me = useMe();
  const client = useQueryClient();
  const toast = useToast();
  const [values, setValues] = useState({ nickname: me.nickname ?? "", email: me.email ?? "", phone: me.phone ?? "" });
  const [error, setError] = useState<unknown>();
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setError(undefined);
    try {
      for (const [field, value] of Object.entries(values))
        await done(api.POST("/api/user/set_profile", { body: { field, value: value || null } }));
      await client.invalidateQueries({ queryKey: ["me"] });
      toast(t("said.saved"));
    } catch (error) {
      setError(error);
    }
  };
  return (
    <Card title={t("me.profile")}>
      <form className="stack" onSubmit={submit}>
        <Picture />
        <TextField
          label={t("me.nickname")}
          value={values.nickname}
          onChange={(nickname) => setValues({ ...values, nickname })}
        />
        <TextField
          label={t("me.email")}
          type="email"
          value={values.email}
          onChange={(email) => setValues({ ...values, email })}
          autoComplete="email"
        />
        <TextField
          label={t("me.phone")}
          type="tel"
          value={values.phone}
          onChange={(phone) => setValues({ ...values, phone })}
          autoComplete="tel"
        />
        {error !== undefined && <Trouble error={error} />}
        <div className="row">
          <Button type="submit" kind="main">
            {t("act.save")}
          </Button>
        </div>
      </form>
    </Card>
  );
}

function Picture() {
  const { t } = useText();
  const me = useMe();
  const client = useQueryClient();
  const complain = useComplaint();
  const send = async (file: File) => {
    const form = new FormData();
    form.append("photo", file);
    try {
      const response = await fetch("/api/user/set_photo/custom", {
        method: "POST",
        body: form,
        credentials: "same-origin",
      });
      if (!response.ok) throw failureOf(response.status, await response.json().catch(() => undefined));
      await client.invalidateQueries({ queryKey: ["me"] });
    } catch (error) {
      complain(error);
    }
  };
  return (
    <div className="row">
      {me.photo && <img className="photo" src={me.photo} alt="" width="56" height="56" />}
      <label className="button">
        {t("me.picture")}
        <input
          type="file"
          className="visually-hidden"
          accept="image/png,image/jpeg,image/webp,image/gif"
          onChange={(event) => {
            const [file] = event.target.files ?? [];
            if (file) send(file);
          }}
        />
      </label>
    </div>
  );
}

function Password() {
  const { t } = useText();
  const toast = useToast();
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [error, setError] = useState<unknown>();
  const wrong = next !== "" && next.length < 8 ? t("door.password_rule") : undefined;
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (wrong || !next) return;
    setError(undefined);
    try {
      await done(
        api.POST("/api/user/set_password", {
          body: { new_password: await secretOf(next), password: await secretOf(current) },
        }),
      );
      setCurrent("");
      setNext("");
      toast(t("me.password_set"));
    } catch (error) {
      setError(error);
    }
  };
  return (
    <Card title={t("field.password")}>
      <form className="stack" onSubmit={submit}>
        <p className="soft">{t("me.password_note")}</p>
        <div className="form-row">
          <TextField
            label={t("me.current_password")}
            type="password"
            value={current}
            onChange={setCurrent}
            autoComplete="current-password"
            required
          />
          <TextField
            label={t("account.new_password")}
            type="password"
            value={next}
            onChange={setNext}
            autoComplete="new-password"
            required
            wrong={wrong}
          />
        </div>
        {error !== undefined && <Trouble error={error} />}
        <div className="row">
          <Button type="submit" why={wrong}>
            {t("account.set_password")}
          </Button>
        </div>
      </form>
    </Card>
  );
}

function Tokens() {
  const { t, moment } = useText();
  const client = useQueryClient();
  const tokens = useQuery(queries.tokens());
  const [isMaking, setMaking] = useState(false);
  const [ending, setEnding] = useState<{ id: string; name: string }>();
  const [made, setMade] = useState<string>();
  const refresh = () => client.invalidateQueries({ queryKey: ["tokens"] });
  return (
    <Card
      title={t("me.tokens")}
      flush
      action={
        <Button small icon="plus" onClick={() => setMaking(true)}>
          {t("me.token_new")}
        </Button>
      }
    >
      <p className="card-body soft">{t("me.tokens_note")}</p>
      {tokens.isPending && <Skeleton rows={2} />}
      {tokens.error && <Trouble error={tokens.error} onRetry={tokens.refetch} />}
      <ul className="lines">
        {tokens.data?.data.map((it) => (
          <li key={it.id} className="row apart">
            <div>
              <strong>
                <Foreign text={it.name} />
              </strong>
              <div className="soft small">
                {it.expires_at ? t("me.token_until", { until: moment(it.expires_at) }) : t("me.token_forever")} ·{" "}
                {it.last_used_at ? (
                  <>
                    {t("me.token_used")} <When at={it.last_used_at} />
                  </>
                ) : (
                  t("me.token_unused")
                )}
              </div>
            </div>
            <Button small kind="danger" icon="trash" onClick={() => setEnding(it)}>
              {t("me.token_end")}
            </Button>
          </li>
        ))}
      </ul>
      {isMaking && (
        <NewToken
          onClose={() => setMaking(false)}
          onMade={(token) => {
            setMade(token);
            refresh();
          }}
        />
      )}
      {made && (
        <Dialog title={t("me.token_made")} wide onClose={() => setMade(undefined)}>
          <Notice tone="warn" title={t("me.token_once")} />
          <Code text={made} />
          <div className="dialog-acts">
            <Button kind="main" onClick={() => setMade(undefined)}>
              {t("act.close")}
            </Button>
          </div>
        </Dialog>
      )}
      {ending && (
        <Confirm
          title={t("me.token_end_title", { name: ending.name })}
          act={t("me.token_end")}
          command={`longshore token delete ${ending.id}`}
          danger
          onClose={() => setEnding(undefined)}
          onAct={async () => {
            await done(api.DELETE("/api/v1/tokens/{id}", { params: { path: { id: ending.id } } }));
            refresh();
          }}
        >
          <p>{t("me.token_end_note")}</p>
        </Confirm>
      )}
    </Card>
  );
}

function NewToken({ onClose, onMade }: { onClose: () => void; onMade: (token: string) => void }) {
  const { t } = useText();
  const [name, setName] = useState("");
  const [days, setDays] = useState("90");
  return (
    <Confirm
      title={t("me.token_new")}
      act={t("me.token_new")}
      command={`longshore token create ${shellWord(name.trim() || "NAME")}${days === "0" ? "" : ` --expires-in ${days}d`}`}
      onClose={onClose}
      why={name.trim() ? undefined : t("me.token_name_first")}
      onAct={async () => {
        const expires_in = days === "0" ? undefined : Number(days) * 86_400;
        const { token } = await call(api.POST("/api/v1/tokens", { body: { name: name.trim(), expires_in } }));
        onMade(token);
      }}
    >
      <TextField label={t("field.name")} value={name} onChange={setName} note={t("me.token_name_note")} />
      <SelectField label={t("me.token_days")} value={days} onChange={setDays}>
        {["7", "30", "90", "365"].map((days) => (
          <option key={days} value={days}>
            {t("me.days", { days })}
          </option>
        ))}
        <option value="0">{t("me.token_forever")}</option>
      </SelectField>
    </Confirm>
  );
}

function Looks() {
  const { t, language } = useText();
  return (
    <Card title={t("me.looks")}>
      <div className="stack">
        <SelectField
          label={t("me.language")}
          value={language}
          onChange={(value) => {
            const found = languages.find((it) => it.id === value);
            if (found) setLanguage(found.id);
          }}
        >
          {languages.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </SelectField>
        <div className="row">
          <Button icon="moon" onClick={toggleTheme}>
            {t("nav.theme")}
          </Button>
        </div>
      </div>
    </Card>
  );
}
