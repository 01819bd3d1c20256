import { BlockGraph } from './block-graph.ts'
import { childrenOf, OPEN_TIMEOUT_MS, type Execute } from './devices.ts'
import { filterNode, goneNode, layerOfNode, throttleGroup } from './disk-nodes.ts'
import { deleteObject, forgetKeys } from './secrets.ts'

/**
 * Deletes what stands under no device: of disks that the guest has given up or whose files were taken away,
 * of layers that a job made needless, and of attempts that were cut short.
 */
export async function clearAway(execute: Execute): Promise<void> {
  const stuck = new Set<string>()
  for (;;) {
    const graph = await BlockGraph.read(execute)
    const idle = [...graph.nodes.values()].filter((node) => !node.hasParent && isOurs(node.name) && !stuck.has(node.name))
    for (const { name } of idle) {
      stuck.add(name)
      await execute('blockdev-del', { 'node-name': name }, OPEN_TIMEOUT_MS)
    }
    // What a deleted node stood on may stand alone now.
    if (idle.length > 0) continue
    const groups = (await childrenOf(execute, '/objects')).filter((id) => id.startsWith(throttleGroup('')))
    for (const id of groups) {
      if (!graph.nodes.has(filterNode(id.slice(throttleGroup('').length)))) await deleteObject(execute, id)
    }
    return forgetKeys(execute)
  }
}

function isOurs(node: string): boolean {
  return node.startsWith(filterNode('vol-')) || node.startsWith(goneNode('vol-')) || layerOfNode(node) !== undefined
}
