/** How the installation is set: who may sign up, which can be changed here, and what the server was started with. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo } from "react";
import { api, call, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { settings as inChinese } from "../../i18n/zh.settings";
import { Button, Card, Foreign, PageHead, Skeleton, Trouble } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { SelectField } from "../../parts/field";
import { type Column, Table } from "../../parts/table";
import { useComplaint, useToast } from "../../parts/toasts";

type Setting = Schemas["SettingView"];

const REGISTRATION = "auth.registration";

export function Settings() {
  const { t, language } = useText();
  const settings = useQuery(queries.settings());
  const registration = settings.data?.find((it) => it.name === REGISTRATION);
  const columns = useMemo<Column<Setting>[]>(
    () => [
      {
        id: "name",
        title: t("field.name"),
        className: "name wrap",
        sort: (it) => it.name,
        cell: (it) => (
          <>
            <code>{it.name}</code>
            <Explained setting={it} />
          </>
        ),
      },
      {
        id: "value",
        title: t("setting.value"),
        className: "wrap",
        cell: (it) =>
          it.is_secret ? (
            <span className="soft">{t("setting.secret")}</span>
          ) : it.value ? (
            <code>
              <Foreign text={it.value} />
            </code>
          ) : (
            <span className="soft">{t("setting.none")}</span>
          ),
      },
      {
        id: "source",
        title: t("setting.from"),
        className: "wide-only nowrap",
        sort: (it) => it.source,
        cell: (it) => t(`setting.by_${it.source}`),
      },
    ],
    [t],
  );
  return (
    <>
      <PageHead title={t("setting.title")} note={t("setting.note")}>
        <CommandLine command="longshore setting list" request={{ method: "GET", path: "/api/v1/settings" }} />
      </PageHead>
      {settings.isPending && <Skeleton />}
      {settings.error && <Trouble error={settings.error} onRetry={settings.refetch} />}
      {registration && <Registration setting={registration} />}
      {settings.data && (
        <Card title={t("setting.all")} flush>
          <Table
            label={t("setting.all")}
            rows={settings.data}
            columns={columns}
            rowKey={(it) => it.name}
            text={(it) => `${it.name} ${it.help} ${(language === "zh" && inChinese[it.name]) || ""} ${it.value ?? ""}`}
          />
        </Card>
      )}
    </>
  );
}

/** What a setting does; in the server's words where Chinese ones are missing. */
function Explained({ setting }: { setting: Setting }) {
  const { language } = useText();
  const known = language === "zh" ? inChinese[setting.name] : undefined;
  return (
    <div className="sub" lang={known ? undefined : "en"}>
      {known ?? setting.help}
    </div>
  );
}

/** Who may sign up, changed at once. */
function Registration({ setting }: { setting: Setting }) {
  const { t, word } = useText();
  const client = useQueryClient();
  const toast = useToast();
  const complain = useComplaint();
  const params = { path: { name: REGISTRATION } };
  const saved = () => {
    for (const key of ["settings", "auth-params"]) client.invalidateQueries({ queryKey: [key] });
    toast(t("said.saved"));
  };
  return (
    <Card
      title={t("registration.head")}
      action={
        <CommandLine
          command={`longshore setting set ${REGISTRATION} ${setting.value}`}
          request={{ method: "PUT", path: `/api/v1/settings/${REGISTRATION}`, body: { value: setting.value } }}
        />
      }
    >
      <div className="form">
        <SelectField
          label={t("registration.title")}
          value={setting.value ?? ""}
          note={`${t("setting.from")}: ${t(`setting.by_${setting.source}`)}`}
          onChange={(value) =>
            call(api.PUT("/api/v1/settings/{name}", { params, body: { value } })).then(saved, complain)
          }
        >
          {setting.choices.map((choice) => (
            <option key={choice} value={choice}>
              {word("registration", choice)}
            </option>
          ))}
        </SelectField>
        {setting.source === "admin" && (
          <div className="row">
            <Button
              small
              icon="restart"
              onClick={() => call(api.DELETE("/api/v1/settings/{name}", { params })).then(saved, complain)}
            >
              {t("setting.reset")}
            </Button>
          </div>
        )}
      </div>
    </Card>
  );
}
