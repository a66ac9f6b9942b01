/** The pictures on buttons and in the navigation: lines of one weight, in the colour of the text beside them. */

const shapes = {
  overview: "M3 12h7V3H3zM14 21h7v-9h-7zM14 8h7V3h-7zM3 21h7v-5H3z",
  images: "M12 3l9 5-9 5-9-5zM3 12l9 5 9-5M3 16l9 5 9-5",
  containers: "M3 7l9-4 9 4v10l-9 4-9-4zM3 7l9 4 9-4M12 11v10",
  machines: "M4 4h16v6H4zM4 14h16v6H4zM8 7h.01M8 17h.01",
  admin: "M12 3l8 3v6c0 5-3.5 8-8 9-4.500-1-8-4-8-9V6z",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M16 9a2 2 0 100-4 2 2 0 000 4zM8 19a2 2 0 100-4 2 2 0 000 4z",
  accounts: "M9 11a4 4 0 100-8 4 4 0 000 8zM2 21c0-4 3-6 7-6s7 2 7 6M16 3.500a4 4 0 010 7M18 15c2.500.7 4 2.700 4 6",
  audit: "M6 3h9l4 4v14H6zM14 3v5h5M9 12h7M9 16h7",
  me: "M12 12a4 4 0 100-8 4 4 0 000 8zM4 21c0-4 3.500-6 8-6s8 2 8 6",
  search: "M11 18a7 7 0 100-14 7 7 0 000 14zM16 16l5 5",
  plus: "M12 5v14M5 12h14",
  upload: "M12 16V4M7 9l5-5 5 5M4 20h16",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  play: "M7 4l12 8-12 8z",
  stop: "M6 6h12v12H6z",
  restart: "M20 11a8 8 0 10-2 6M20 4v7h-7",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 14h10l1-14M10 11v6M14 11v6",
  tag: "M3 12V4h8l10 10-8 8zM7.500 8h.01",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  terminal: "M4 5h16v14H4zM7 9l3 3-3 3M13 15h4",
  log: "M4 6h16M4 10h16M4 14h10M4 18h12",
  chart: "M4 20V4M4 20h16M8 16l4-5 3 3 5-7",
  folder: "M3 6h7l2 2h9v11H3z",
  file: "M6 3h9l4 4v14H6zM14 3v5h5",
  link: "M10 14a4 4 0 006 0l4-4a4 4 0 00-6-6l-1 1M14 10a4 4 0 00-6 0l-4 4a4 4 0 006 6l1-1",
  kubernetes:
    "M12 3l8 4.500v9L12 21l-8-4.500v-9zM12 15a3 3 0 100-6 3 3 0 000 6zM12 3v6M12 15v6M4 7.500l5.500 3M14.500 13.500l5.500 3M20 7.500l-5.500 3M9.500 13.500l-5.500 3",
  git: "M6 9a2.500 2.500 0 100-5 2.500 2.500 0 000 5zM6 20a2.500 2.500 0 100-5 2.500 2.500 0 000 5zM18 11a2.500 2.500 0 100-5 2.500 2.500 0 000 5zM6 9v6M18 11c0 4-6 2-11 5",
  charts: "M12 21a8 8 0 100-16 8 8 0 000 16zM12 5V2M12 21v1M12 13l4-3M5 6l2 2M19 6l-2 2M9 13h.01",
  gpu: "M3 7h18v10H3zM8 14.500a2.500 2.500 0 100-5 2.500 2.500 0 000 5zM16 14.500a2.500 2.500 0 100-5 2.500 2.500 0 000 5zM6 17v3",
  menu: "M4 6h16M4 12h16M4 18h16",
  close: "M6 6l12 12M18 6L6 18",
  sun: "M12 16a4 4 0 100-8 4 4 0 000 8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2",
  moon: "M20 14A8 8 0 0110 4a8 8 0 1010 10z",
  out: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
  check: "M5 12l5 5 9-10",
  warn: "M12 4l9 16H3zM12 10v4M12 17h.01",
  info: "M12 21a9 9 0 100-18 9 9 0 000 18zM12 11v5M12 8h.01",
  up: "M12 19V5M6 11l6-6 6 6",
  down: "M12 5v14M6 13l6 6 6-6",
  cloud: "M7 18a4 4 0 010-8 6 6 0 0111-1 4.500 4.500 0 010 9z",
};

export type IconName = keyof typeof shapes;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.8"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={shapes[name]} />
    </svg>
  );
}
