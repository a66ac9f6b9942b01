/** Signing in and signing up. */
import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, call, Failure, secretOf } from "../api/client";
import { queries } from "../api/queries";
import mark from "../assets/longshore.svg";
import { languages, setLanguage, useText } from "../i18n";
import { Button, Notice, Trouble } from "../parts/basic";
import { TextField } from "../parts/field";
import { Icon } from "../parts/icons";

const ACCOUNT = /^[a-z0-9]{1,31}$/;

export function Door({ onDone }: { onDone: () => void }) {
  const { t, language } = useText();
  const params = useQuery(queries.authParams());
  const [isNew, setNew] = useState(false);
  const isClosed = params.data?.registration === "closed";
  return (
    <div className="door">
      <div className="door-words">
        <div className="row">
          <img src={mark} width="44" height="44" alt="" />
          <strong>Longshore</strong>
        </div>
        <h1>{t("door.words")}</h1>
        <ul>
          <li>
            <Icon name="upload" /> {t("door.point_upload")}
          </li>
          <li>
            <Icon name="gpu" /> {t("door.point_gpu")}
          </li>
          <li>
            <Icon name="terminal" /> {t("door.point_terminal")}
          </li>
        </ul>
      </div>
      <main className="door-form">
        <div className="stack">
          <h2>{isNew ? t("door.sign_up") : t("door.sign_in")}</h2>
          {isNew ? (
            <SignUpForm onDone={onDone} needsApproval={params.data?.registration === "approval"} />
          ) : (
            <SignInForm onDone={onDone} />
          )}
          {isClosed ? (
            <p className="soft">{t("door.closed")}</p>
          ) : (
            <Button kind="quiet" onClick={() => setNew(!isNew)}>
              {isNew ? t("door.have_account") : t("door.no_account")}
            </Button>
          )}
          <div className="row">
            {languages.map(({ id, name }) => (
              <Button
                key={id}
                small
                kind="quiet"
                why={id === language ? name : undefined}
                onClick={() => setLanguage(id)}
              >
                {name}
              </Button>
            ))}
          </div>
        </div>
      </main>
    </div>
  );
}

/** The form alone; also shown over a page whose session has ended. */
export function SignInForm({ account: known = "", onDone }: { account?: string; onDone: () => void }) {
  const { t } = useText();
  const [account, setAccount] = useState(known);
  const [password, setPassword] = useState("");
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    setError(undefined);
    try {
      await signIn(account, password);
      onDone();
    } catch (error) {
      setError(error);
    } finally {
      setBusy(false);
    }
  };
  const isUnknown = error instanceof Failure && error.code === "no_such_account";
  return (
    <form className="stack" onSubmit={submit}>
      <TextField
        label={t("door.account")}
        name="account"
        value={account}
        onChange={setAccount}
        autoComplete="username"
        autoCapitalize="none"
        spellCheck={false}
        required
        wrong={isUnknown ? t("door.unknown") : undefined}
      />
      <TextField
        label={t("field.password")}
        name="password"
        type="password"
        value={password}
        onChange={setPassword}
        autoComplete="current-password"
        required
      />
      {error !== undefined && !isUnknown && <Trouble error={error} />}
      <Button type="submit" kind="main" busy={isBusy}>
        {t("door.sign_in")}
      </Button>
    </form>
  );
}

function SignUpForm({ onDone, needsApproval }: { onDone: () => void; needsApproval: boolean }) {
  const { t } = useText();
  const [account, setAccount] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<unknown>();
  const [isBusy, setBusy] = useState(false);
  const [isWaiting, setWaiting] = useState(false);
  const name = account.trim().toLowerCase();
  const wrongName = account !== "" && !ACCOUNT.test(name) ? t("door.account_rule") : undefined;
  const wrongPassword = password !== "" && password.length < 8 ? t("door.password_rule") : undefined;
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy || wrongName || wrongPassword) return;
    setBusy(true);
    setError(undefined);
    try {
      const made = await call(
        api.POST("/api/auth/register", { body: { account: name, password: await secretOf(password) } }),
        { isSignIn: true },
      );
      if (made.state === "pending") {
        setWaiting(true);
        return;
      }
      await signIn(name, password);
      onDone();
    } catch (error) {
      setError(error);
    } finally {
      setBusy(false);
    }
  };
  if (isWaiting) return <Notice tone="good" title={t("door.waiting")} />;
  return (
    <form className="stack" onSubmit={submit}>
      <TextField
        label={t("door.account")}
        name="account"
        value={account}
        onChange={setAccount}
        autoComplete="username"
        autoCapitalize="none"
        spellCheck={false}
        required
        wrong={wrongName}
        note={t("door.account_rule")}
      />
      <TextField
        label={t("field.password")}
        name="password"
        type="password"
        value={password}
        onChange={setPassword}
        autoComplete="new-password"
        required
        wrong={wrongPassword}
        note={needsApproval ? t("door.approval") : t("door.password_note")}
      />
      {error !== undefined && <Trouble error={error} />}
      <Button type="submit" kind="main" busy={isBusy}>
        {t("door.sign_up")}
      </Button>
    </form>
  );
}

async function signIn(account: string, password: string) {
  const body = { account: account.trim().toLowerCase(), password: await secretOf(password) };
  await call(api.POST("/api/auth/login", { body }), { isSignIn: true });
}
