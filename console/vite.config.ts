import { defineConfig } from "vitest/config";

// The console lives below /ui/; everything else on the server is the API. `LONGSHORE_URL` is the server that `npm run dev` speaks to.
const server = process.env.LONGSHORE_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/ui/",
  build: {
    target: "es2022",
    // The policy of the pages takes no data: URLs for styles and scripts, and few for anything else.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 600,
    rolldownOptions: {
      // Words for servers that render pages, which is not done here.
      onwarn: (warning, warn) => warning.code === "MODULE_LEVEL_DIRECTIVE" || warn(warning),
    },
  },
  server: {
    proxy: { "^/(api|user|image|images|healthz|readyz)(/|$)": { target: server, ws: true } },
  },
  test: { include: ["src/**/*.test.ts"] },
});
