/** Accounts: who there is, who may do what, who waits for approval. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "react-router";
import { type Account, api, call, type Schemas, secretOf } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Badge, Button, Card, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { SelectField, TextField } from "../../parts/field";
import { type Column, Table } from "../../parts/table";
import { paths } from "../../paths";
import { useMe } from "../../shell/session";
import { QuotaDialog } from "./quota";

type Role = Schemas["Role"];
const isRole = (text: string): text is Role => text === "admin" || text === "user";

export function Accounts() {
  const { t } = useText();
  const me = useMe();
  const accounts = useQuery(queries.accounts());
  const params = useQuery(queries.authParams());
  const [isAdding, setAdding] = useState(false);
  const [changing, setChanging] = useState<{ account: Account; what: "role" | "state" | "password" | "quota" }>();
  const columns = useMemo<Column<Account>[]>(
    () => [
      {
        id: "account",
        title: t("field.account"),
        className: "name",
        sort: (it) => it.account,
        cell: (it) => it.account,
      },
      {
        id: "role",
        title: t("account.role"),
        sort: (it) => it.role,
        cell: (it) => (
          <Badge tone={it.role === "admin" ? "busy" : "idle"} bare>
            {t(`role.${it.role}`)}
          </Badge>
        ),
      },
      {
        id: "state",
        title: t("field.state"),
        sort: (it) => it.state,
        cell: (it) => (
          <Badge tone={it.state === "active" ? "good" : it.state === "pending" ? "warn" : "bad"}>
            {t(`account.${it.state}`)}
          </Badge>
        ),
      },
      {
        id: "created",
        title: t("field.created"),
        className: "wide-only",
        sort: (it) => it.created_at,
        cell: (it) => <When at={it.created_at} />,
      },
      {
        id: "acts",
        title: "",
        className: "acts",
        cell: (account) => (
          <>
            <Button
              small
              why={account.account === me.account ? t("account.not_self") : undefined}
              kind={account.state === "pending" ? "main" : undefined}
              onClick={() => setChanging({ account, what: "state" })}
            >
              {account.state === "active"
                ? t("account.disable")
                : account.state === "pending"
                  ? t("account.approve")
                  : t("account.enable")}
            </Button>{" "}
            <Button
              small
              kind="quiet"
              why={account.account === me.account ? t("account.not_self") : undefined}
              onClick={() => setChanging({ account, what: "role" })}
            >
              {account.role === "admin" ? t("account.make_user") : t("account.make_admin")}
            </Button>{" "}
            <Button small kind="quiet" onClick={() => setChanging({ account, what: "quota" })}>
              {t("quota.title")}
            </Button>{" "}
            <Button small kind="quiet" onClick={() => setChanging({ account, what: "password" })}>
              {t("field.password")}
            </Button>
          </>
        ),
      },
    ],
    [t, me.account],
  );
  return (
    <>
      <PageHead
        title={t("nav.accounts")}
        note={
          params.data && (
            <>
              {t("registration.now", { who: t(`registration.${params.data.registration}`) })}{" "}
              <Link to={paths.settings}>{t("registration.change")}</Link>
            </>
          )
        }
      >
        <CommandLine command="longshore account list" request={{ method: "GET", path: "/api/v1/accounts" }} />
        <Button kind="main" icon="plus" onClick={() => setAdding(true)}>
          {t("account.add")}
        </Button>
      </PageHead>
      <Card flush>
        {accounts.isPending && <Skeleton />}
        {accounts.error && <Trouble error={accounts.error} onRetry={accounts.refetch} />}
        {accounts.data && (
          <Table
            label={t("nav.accounts")}
            rows={accounts.data}
            columns={columns}
            rowKey={(it) => it.user_id}
            text={(it) => `${it.account} ${it.nickname ?? ""} ${it.email ?? ""}`}
            order="account"
          />
        )}
      </Card>
      {isAdding && <AddAccount onClose={() => setAdding(false)} />}
      {changing?.what === "quota" && (
        <QuotaDialog account={changing.account.account} onClose={() => setChanging(undefined)} />
      )}
      {changing && changing.what !== "quota" && (
        <ChangeAccount account={changing.account} what={changing.what} onClose={() => setChanging(undefined)} />
      )}
    </>
  );
}

function AddAccount({ onClose }: { onClose: () => void }) {
  const { t } = useText();
  const client = useQueryClient();
  const [account, setAccount] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>("user");
  return (
    <Confirm
      title={t("account.add")}
      act={t("account.add")}
      command={`longshore account create ${shellWord(account || "NAME")} --role ${role} --password-stdin`}
      onClose={onClose}
      why={!account || password.length < 8 ? t("account.fill") : undefined}
      onAct={async () => {
        await call(api.POST("/api/v1/accounts", { body: { account, password: await secretOf(password), role } }));
        client.invalidateQueries({ queryKey: ["accounts"] });
      }}
    >
      <TextField
        label={t("field.account")}
        value={account}
        onChange={setAccount}
        note={t("door.account_rule")}
        autoCapitalize="none"
      />
      <TextField
        label={t("field.password")}
        type="password"
        value={password}
        onChange={setPassword}
        note={t("door.password_rule")}
        autoComplete="new-password"
      />
      <SelectField label={t("account.role")} value={role} onChange={(value) => isRole(value) && setRole(value)}>
        <option value="user">{t("role.user")}</option>
        <option value="admin">{t("role.admin")}</option>
      </SelectField>
    </Confirm>
  );
}

/** The same on the command line. */
function commandOf(account: Account, what: "role" | "state" | "password"): string {
  const name = shellWord(account.account);
  if (what === "password") return `longshore account password ${name} --password-stdin`;
  if (what === "role") return `longshore account update ${name} --role ${account.role === "admin" ? "user" : "admin"}`;
  const verb = account.state === "active" ? "disable" : account.state === "pending" ? "approve" : "enable";
  return `longshore account ${verb} ${name}`;
}

function ChangeAccount({
  account,
  what,
  onClose,
}: {
  account: Account;
  what: "role" | "state" | "password";
  onClose: () => void;
}) {
  const { t } = useText();
  const client = useQueryClient();
  const [password, setPassword] = useState("");
  const role: Role = account.role === "admin" ? "user" : "admin";
  const state = account.state === "active" ? "disabled" : "active";
  const act =
    what === "role"
      ? t(role === "admin" ? "account.make_admin" : "account.make_user")
      : what === "password"
        ? t("account.set_password")
        : t(
            state === "disabled"
              ? "account.disable"
              : account.state === "pending"
                ? "account.approve"
                : "account.enable",
          );
  return (
    <Confirm
      title={`${act}: ${account.account}`}
      act={act}
      command={commandOf(account, what)}
      danger={what === "state" && state === "disabled"}
      why={what === "password" && password.length < 8 ? t("door.password_rule") : undefined}
      onClose={onClose}
      onAct={async () => {
        const body =
          what === "role"
            ? { role }
            : what === "state"
              ? ({ state } satisfies { state: Schemas["AccountState"] })
              : { password: await secretOf(password) };
        await call(api.PATCH("/api/v1/accounts/{account}", { params: { path: { account: account.account } }, body }));
        client.invalidateQueries({ queryKey: ["accounts"] });
      }}
    >
      {what === "password" ? (
        <TextField
          label={t("account.new_password")}
          type="password"
          value={password}
          onChange={setPassword}
          autoComplete="new-password"
          note={t("account.password_note")}
        />
      ) : (
        <p>
          {t(
            what === "state" && state === "disabled"
              ? "account.disable_note"
              : what === "role"
                ? "account.role_note"
                : "account.enable_note",
          )}
        </p>
      )}
    </Confirm>
  );
}
