import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

const suite = (name: string, include: string[], extra: Record<string, unknown> = {}) => ({
  extends: true as const,
  test: { name, include, ...extra },
})

/** For projects with tests on PostgreSQL: one server for all of them. */
const POSTGRES = { globalSetup: ['test/global-setup.ts', 'test/postgres-setup.ts'] }

/**
 * For projects of many small files: half of their time went into loading the AWS SDK and the like for each file. What a
 * test changes of its process, such as an environment variable, it must put back.
 */
const SHARED_MODULES = { isolate: false }

// `npm test` runs every project but `long`, which takes minutes and belongs to `npm run test:long`;
// `npx vitest run --project unit` runs one. Groups run one after
// another; clouds with real guests have the processors to themselves.
export default defineConfig({
  test: {
    globalSetup: ['test/global-setup.ts'],
    projects: [
      suite('unit', ['src/**/*.test.ts', 'test/property/**/*.test.ts', 'test/api/**/*.test.ts'], {
        ...SHARED_MODULES, testTimeout: 30_000, maxWorkers: 2, sequence: { groupOrder: 0 },
      }),
      // The tests of the API once more, over the other database, where it is installed.
      ...(existsSync('/usr/lib/postgresql') ? [suite('api-postgres', ['test/api/**/*.test.ts'], {
        ...POSTGRES, ...SHARED_MODULES, env: { HEARTH_TEST_DATABASE: 'postgres' }, testTimeout: 60_000, maxWorkers: 2,
        sequence: { groupOrder: 0 },
      })] : []),
      suite('simulate', ['test/simulate/**/*.test.ts'], { ...POSTGRES, testTimeout: 600_000, maxWorkers: 2, sequence: { groupOrder: 1 } }),
      suite('contract', ['test/contract/**/*.test.ts'], {
        ...POSTGRES, testTimeout: 120_000, hookTimeout: 120_000, maxWorkers: 2, sequence: { groupOrder: 2 },
      }),
      // A Debian guest is one processor's work for minutes; what is beside it mostly waits.
      suite('e2e-debian', ['test/e2e/debian.test.ts'], {
        testTimeout: 300_000, hookTimeout: 600_000, maxWorkers: 2, sequence: { groupOrder: 2 },
      }),
      // Two clouds at once: each has a namespace of its own, and waits for guests most of its time.
      suite('e2e', ['test/e2e/**/*.test.ts'], {
        ...POSTGRES, exclude: ['test/e2e/debian.test.ts'], testTimeout: 300_000, hookTimeout: 600_000, maxWorkers: 2,
        sequence: { groupOrder: 3 },
      }),
      ...(process.env.HEARTH_LONG_TESTS ? [suite('long', ['test/long/**/*.test.ts'], {
        testTimeout: 1_200_000, hookTimeout: 600_000, maxWorkers: 1, sequence: { groupOrder: 4 },
      })] : []),
    ],
  },
})
