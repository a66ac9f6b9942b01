/** Light or dark: as the system has it, until it is chosen here. */

const STORED = "longshore.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

const isDark = () => {
  const stored = localStorage.getItem(STORED);
  return stored ? stored === "dark" : system.matches;
};

export function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
}

export function toggleTheme() {
  localStorage.setItem(STORED, isDark() ? "light" : "dark");
  applyTheme();
}

system.addEventListener("change", applyTheme);
