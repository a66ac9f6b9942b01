/** The frame around every page: where one can go, whether the connection lives, and the palette. */
import { useCallback, useEffect, useState } from "react";
import { Link, NavLink, Outlet, ScrollRestoration, useLocation } from "react-router";
import { useLink } from "../api/live";
import mark from "../assets/longshore.svg";
import { type Key, languages, setLanguage, useText } from "../i18n";
import { Button, useNow } from "../parts/basic";
import { Icon, type IconName } from "../parts/icons";
import { paths } from "../paths";
import { Palette } from "./palette";
import { signOut, useIsAdmin, useMe } from "./session";
import { toggleTheme } from "./theme";

interface Place {
  to: string;
  name: Key;
  icon: IconName;
  /** Pages of the same area that stand elsewhere. */
  also?: string[];
}

/** The areas of the console. */
export const areas: Place[] = [
  { to: paths.home, name: "nav.overview", icon: "overview" },
  { to: paths.images, name: "nav.images", icon: "images", also: [paths.builds] },
  { to: paths.containers, name: "nav.containers", icon: "containers", also: [paths.keptLogs, paths.volumes] },
  { to: paths.kubernetes, name: "nav.kubernetes", icon: "kubernetes" },
  { to: paths.pipelines, name: "nav.pipelines", icon: "git" },
  { to: paths.charts, name: "nav.charts", icon: "charts", also: [paths.releases] },
  { to: paths.machines, name: "nav.machines", icon: "machines" },
];
export const adminAreas: Place[] = [
  { to: paths.accounts, name: "nav.accounts", icon: "accounts" },
  { to: paths.audit, name: "nav.audit", icon: "audit" },
  { to: paths.installation, name: "nav.installation", icon: "admin" },
  { to: paths.settings, name: "setting.title", icon: "settings" },
];

export function Shell() {
  const { t, language } = useText();
  const me = useMe();
  const isAdmin = useIsAdmin();
  const { pathname } = useLocation();
  const [isOpen, setOpen] = useState(false);
  const [isFinding, setFinding] = useState(false);
  const find = useCallback(() => setFinding(true), []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: another page closes the menu
  useEffect(() => setOpen(false), [pathname]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
      event.preventDefault();
      setFinding(true);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);

  const other = languages.find((it) => it.id !== language);
  const isHere = (place: string) => pathname === place || pathname.startsWith(`${place}/`);
  const links = (places: Place[]) => (
    <ul>
      {places.map(({ to, name, icon, also = [] }) => (
        <li key={to}>
          <Link to={to} aria-current={[to, ...also].some(isHere) ? "page" : undefined}>
            <Icon name={icon} /> {t(name)}
          </Link>
        </li>
      ))}
    </ul>
  );

  return (
    <>
      <a className="button main skip" href="#page">
        {t("nav.skip")}
      </a>
      <div className="shell">
        <div className="topbar">
          <Button kind="quiet" icon="menu" label={t("nav.menu")} onClick={() => setOpen(true)} />
          <Link className="brand" to={paths.home}>
            <img src={mark} alt="" /> Longshore
          </Link>
          <Button kind="quiet" icon="search" label={t("palette.open")} onClick={find} />
        </div>
        {isOpen && (
          <button type="button" className="side-veil" aria-label={t("act.close")} onClick={() => setOpen(false)} />
        )}
        <div className={`side${isOpen ? " open" : ""}`}>
          <Link className="brand" to={paths.home}>
            <img src={mark} alt="" /> Longshore
          </Link>
          <button type="button" className="button find" onClick={find}>
            <Icon name="search" size={15} /> {t("palette.open")} <kbd>Ctrl K</kbd>
          </button>
          <nav aria-label={t("nav.areas")}>
            {links(areas)}
            {isAdmin && (
              <>
                <h2>{t("nav.admin")}</h2>
                {links(adminAreas)}
              </>
            )}
          </nav>
          <div className="foot">
            <nav aria-label={t("nav.me")}>
              <ul>
                <li>
                  <NavLink to={paths.me}>
                    <Icon name="me" /> <span className="clip">{me.nickname || me.account}</span>
                  </NavLink>
                </li>
              </ul>
            </nav>
            <div className="row">
              {other && (
                <Button small kind="quiet" onClick={() => setLanguage(other.id)}>
                  <span lang={other.id}>{other.name}</span>
                </Button>
              )}
              <Button small kind="quiet" icon="moon" label={t("nav.theme")} onClick={toggleTheme} />
              <Button small kind="quiet" icon="out" label={t("door.sign_out")} onClick={signOut} />
            </div>
          </div>
        </div>
        <div className="grow">
          <LinkBar />
          <main className="page" id="page" tabIndex={-1}>
            <Outlet />
            <ScrollRestoration />
          </main>
        </div>
      </div>
      {isFinding && <Palette onClose={() => setFinding(false)} />}
    </>
  );
}

/** Says that the connection is lost, and when it is tried again. What was typed stays. */
function LinkBar() {
  const { t } = useText();
  const link = useLink();
  const now = useNow(1000);
  if (link.state !== "waiting") return null;
  return (
    <div className="linkbar" role="status">
      <Icon name="warn" size={15} /> {t("link.lost", { seconds: Math.max(1, Math.ceil((link.until - now) / 1000)) })}
    </div>
  );
}
