import { expect, test } from 'vitest'
import { INSTANCE, until, type GuestLab } from './hypervisor-lab.ts'

const SECONDS_WRONG = 3600

/** What a guest sees of being frozen: that nobody waited for it. */
export function guestFrozen(labOf: () => GuestLab): void {
  const ssh = (command: string) => labOf().ssh('10.0.0.10', command)
  const number = async (command: string) => Number.parseFloat(await ssh(command))

  test('answers nobody while it is frozen, and goes on where it was, its clock set', async () => {
    const { driver } = labOf()
    await ssh('setsid sh -c "n=0; while :; do n=\\$((n+1)); echo \\$n >/run/frozen.n; sleep 0.1; done" >/dev/null 2>&1 </dev/null & echo $! >/run/frozen.pid')
    await until('it to count', async () => (await number('cat /run/frozen.n || true')) > 3)
    await ssh(`date -s @$(($(date +%s) - ${SECONDS_WRONG}))`)
    await driver.ensureFrozen(INSTANCE)
    const frozenMs = performance.now()
    expect(await labOf().answers('10.0.0.10')).toBe(false)
    expect(await driver.health(INSTANCE)).toBe('silent')
    const said = await driver.consoleOutput(INSTANCE, 65_536)
    expect(performance.now() - frozenMs).toBeGreaterThan(4000)
    await driver.ensureThawed(INSTANCE)
    await until('an answer', () => labOf().answers('10.0.0.10'))
    const count = await number('cat /run/frozen.n')
    await until('it to count on', async () => (await number('cat /run/frozen.n')) > count + 3)
    await until('its clock to be right', async () => Math.abs(await number('date +%s') - Date.now() / 1000) < 60)
    expect(await labOf().says('hearth: READY')).toBe(1)
    expect((await driver.consoleOutput(INSTANCE, 65_536)).subarray(0, said.length).equals(said)).toBe(true)
    await ssh('kill $(cat /run/frozen.pid)')
  }, 60_000)
}
