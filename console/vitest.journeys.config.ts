import { defineConfig } from "vitest/config";

// What people do, in a real browser against a real server: `npm run journeys`. See tests/support/server.ts for what it needs.
export default defineConfig({
  test: {
    include: ["tests/**/*.journey.ts"],
    globalSetup: ["tests/support/setup.ts"],
    // One server and one browser for all: journeys of different accounts, one after another.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
