import { execFileSync } from 'node:child_process'

/** Makes the generated service models and dist/ current before any test runs. */
export default function setup(): void {
  execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' })
}
