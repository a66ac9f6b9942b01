/** The command palette: finds pages and whatever somebody has by any part of its name. */
import { useQuery } from "@tanstack/react-query";
import { type KeyboardEvent, useEffect, useMemo, useState } from "react";
import { useNavigate } from "react-router";
import { queries } from "../api/queries";
import { useText } from "../i18n";
import { Dialog } from "../parts/dialog";
import { Icon, type IconName } from "../parts/icons";
import { paths } from "../paths";
import { machineName } from "../states";
import { useIsAdmin } from "./session";
import { adminAreas, areas } from "./shell";

interface Find {
  key: string;
  icon: IconName;
  name: string;
  note: string;
  to: string;
}

const MOST = 40;
/** Charts are many, so the server looks for them, once somebody has typed this much and stopped for a moment. */
const CHARTS_FROM = 2;
const CHARTS_MOST = 10;
const PAUSE_MS = 200;

export function Palette({ onClose }: { onClose: () => void }) {
  const { t, word } = useText();
  const navigate = useNavigate();
  const isAdmin = useIsAdmin();
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const containers = useQuery(queries.containers());
  const images = useQuery(queries.images());
  const builds = useQuery(queries.builds());
  const machines = useQuery(queries.machines());
  const workloads = useQuery(queries.workloads());
  const releases = useQuery(queries.releases());
  const gitRepos = useQuery(queries.gitRepos());
  const chartRepos = useQuery(queries.chartRepos());
  const runs = useQuery(queries.runs());
  const [asked, setAsked] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setAsked(query.trim()), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [query]);
  const charts = useQuery({ ...queries.charts({ search: asked }, CHARTS_MOST), enabled: asked.length >= CHARTS_FROM });

  const finds = useMemo(() => {
    const all: Find[] = [
      ...[...areas, ...(isAdmin ? adminAreas : [])].map(({ to, name, icon }) => ({
        key: to,
        icon,
        name: t(name),
        note: "",
        to,
      })),
      { key: "upload", icon: "upload", name: t("upload.title"), note: "", to: paths.upload },
      { key: "new", icon: "plus", name: t("create.title"), note: "", to: paths.containerNew() },
      { key: "me", icon: "me", name: t("nav.me"), note: "", to: paths.me },
    ];
    for (const it of containers.data?.data ?? [])
      all.push({
        key: `c${it.id}`,
        icon: "containers",
        name: it.display_name || it.name,
        note: `${word("state", it.state)} · ${it.image}`,
        to: paths.container(it.id),
      });
    for (const it of images.data?.data ?? [])
      all.push({
        key: `i${it.id}`,
        icon: "images",
        name: it.name,
        note: it.display_name ?? "",
        to: paths.image(it.id),
      });
    for (const it of machines.data?.data ?? [])
      all.push({ key: `m${it.machine_id}`, icon: "machines", name: machineName(it), note: it.ip, to: paths.machines });
    for (const it of workloads.data?.data ?? [])
      all.push({
        key: `w${it.id}`,
        icon: "kubernetes",
        name: it.name,
        note: `${it.kind} · ${it.namespace}`,
        to: paths.workload(it.id),
      });
    for (const it of releases.data?.data ?? [])
      all.push({
        key: `r${it.id}`,
        icon: "charts",
        name: it.name,
        note: `${it.chart} · ${it.namespace}`,
        to: paths.release(it.id),
      });
    for (const it of gitRepos.data?.data ?? [])
      all.push({ key: `g${it.id}`, icon: "git", name: it.repo_name, note: it.url, to: paths.gitRepo(it.id) });
    for (const it of chartRepos.data?.data ?? [])
      all.push({ key: `h${it.id}`, icon: "charts", name: it.name, note: it.url, to: paths.chartRepo(it.id) });
    for (const it of builds.data?.data ?? [])
      all.push({
        key: `b${it.id}`,
        icon: "log",
        name: it.image,
        note: word("state", it.state),
        to: paths.build(it.id),
      });
    for (const it of runs.data?.data ?? [])
      all.push({
        key: `u${it.id}`,
        icon: "git",
        name: `${it.repo_name} #${it.id}`,
        note: word("state", it.state),
        to: paths.run(it.id),
      });
    // The server has looked into more than names.
    const found: Find[] = (asked.length >= CHARTS_FROM ? (charts.data?.data ?? []) : []).map((it) => ({
      key: `k${it.repo_id}/${it.name}`,
      icon: "charts",
      name: it.name,
      note: it.description ?? "",
      to: paths.chart(it.repo_id, it.name),
    }));
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    return all
      .filter((find) => words.every((it) => `${find.name} ${find.note}`.toLowerCase().includes(it)))
      .slice(0, MOST)
      .concat(found);
  }, [
    containers.data,
    images.data,
    machines.data,
    workloads.data,
    releases.data,
    gitRepos.data,
    chartRepos.data,
    builds.data,
    runs.data,
    charts.data,
    asked,
    query,
    isAdmin,
    t,
    word,
  ]);

  const go = (find: Find | undefined) => {
    if (!find) return;
    onClose();
    navigate(find.to);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown") setAt(Math.min(at + 1, finds.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(at - 1, 0));
    else if (event.key === "Enter") go(finds[at]);
    else return;
    event.preventDefault();
  };

  return (
    <Dialog className="palette" onClose={onClose}>
      <input
        autoFocus
        value={query}
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-finds"
        aria-activedescendant={finds[at] ? `find-${finds[at].key}` : undefined}
        aria-label={t("palette.open")}
        placeholder={t("palette.placeholder")}
        onChange={(event) => {
          setQuery(event.target.value);
          setAt(0);
        }}
        onKeyDown={onKey}
      />
      <div className="finds" id="palette-finds" role="listbox" aria-label={t("palette.open")}>
        {finds.map((find, index) => (
          // biome-ignore lint/a11y/useFocusableInteractive: the focus stays in the field, as in every combobox
          // biome-ignore lint/a11y/useKeyWithClickEvents: keys are taken by the field
          <div
            key={find.key}
            id={`find-${find.key}`}
            role="option"
            aria-selected={index === at}
            onMouseMove={() => setAt(index)}
            onClick={() => go(find)}
          >
            <Icon name={find.icon} size={16} /> <span className="clip">{find.name}</span>{" "}
            <span className="soft small clip">{find.note}</span>
          </div>
        ))}
        {finds.length === 0 && <p className="soft">{t("palette.none")}</p>}
      </div>
    </Dialog>
  );
}
