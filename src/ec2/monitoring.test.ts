import { expect, it } from 'vitest'
import { openAttributeLab } from '../../test/support/attribute-lab.ts'
import { insertInstance } from '../../test/support/rows.ts'
import { describeInstances } from './describe-instances.ts'
import { monitorInstances, unmonitorInstances } from './monitoring.ts'

it('is switched on and off, the answer being on the way and the next description there', async () => {
  const lab = await openAttributeLab()
  const { instance_id: id } = await lab.run((context) => insertInstance(context))
  const states = async () => {
    const { Reservations } = await lab.call(describeInstances, { Filters: [{ Name: 'monitoring-state', Values: ['enabled'] }] })
    return Reservations?.flatMap((each) => each.Instances ?? []).map((each) => each.Monitoring?.State)
  }
  const answer = (State: string) => ({ InstanceMonitorings: [{ InstanceId: id, Monitoring: { State } }] })
  expect(await lab.call(unmonitorInstances, { InstanceIds: [id] })).toEqual(answer('disabled'))
  expect(await lab.call(monitorInstances, { InstanceIds: [id, id] })).toEqual(answer('pending'))
  expect(await states()).toEqual(['enabled'])
  expect(await lab.call(monitorInstances, { InstanceIds: [id] })).toEqual(answer('enabled'))
  expect(await lab.call(unmonitorInstances, { InstanceIds: [id] })).toEqual(answer('disabling'))
  expect(await states()).toEqual([])
})

it('changes nothing when one id is unknown or none is given', async () => {
  const lab = await openAttributeLab()
  const { instance_id: id } = await lab.run((context) => insertInstance(context))
  expect(await lab.failure(monitorInstances, { InstanceIds: [id, 'i-00000000000000000'] })).toMatch(/^InvalidInstanceID.NotFound/)
  expect((await lab.row(id)).parsed.options.monitoring).toBe('disabled')
  expect(await lab.failure(unmonitorInstances, { InstanceIds: [] })).toMatch(/^MissingParameter/)
})
