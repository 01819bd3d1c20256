import { basename } from 'node:path'
import { deviceIds, type Execute } from './devices.ts'
import { diskOfDevice, diskOfFilter, layerOfNode } from './disk-nodes.ts'

/** A disk as QEMU has it. */
export interface FoundDisk {
  volumeId: string
  /** As in disk-nodes.ts. */
  name: string
  /** Its highest node; what the device reads and writes. */
  head: string
  /** Nodes of its layers, from the top; none when its files were taken away. */
  nodes: string[]
  /** The layers that these are. */
  layers: string[]
  /** As the guest sees it. */
  sizeBytes: number
}

interface Node {
  name: string
  driver: string
  sizeBytes: number
  /** Of a node that is a file, its path relative to the machine's folder. */
  file: string
  /** By the name of the edge: "file", "backing"… */
  children: Map<string, string>
  hasParent: boolean
}

/** QEMU's block nodes and devices at one moment. */
export class BlockGraph {
  readonly nodes: Map<string, Node>
  readonly disks: FoundDisk[]

  private constructor(nodes: Map<string, Node>, heads: Map<string, string>, devices: string[]) {
    this.nodes = nodes
    this.disks = devices.flatMap((device) => {
      const disk = diskOfDevice(device)
      const head = heads.get(device)
      if (!disk || head === undefined) return []
      const chain = this.#layersUnder(head)
      const layers = chain.map((node) => this.layerOf(node))
      return [{ ...disk, head, nodes: chain, layers, sizeBytes: nodes.get(head)?.sizeBytes ?? 0 }]
    })
  }

  static async read(execute: Execute): Promise<BlockGraph> {
    const devices = await deviceIds(execute)
    const listed = (await execute('query-named-block-nodes', { flat: true })) as ListedNode[]
    // Marked as for debugging, and the only command that tells how nodes stand on each other.
    const graph = (await execute('x-debug-query-block-graph')) as ListedGraph
    const nodes = new Map(listed.map((node): [string, Node] => [node['node-name'], {
      name: node['node-name'], driver: node.drv, sizeBytes: node.image['virtual-size'], file: node.file,
      children: new Map(), hasParent: false,
    }]))
    const names = new Map(graph.nodes.map(({ id, name }) => [id, name]))
    const heads = new Map<string, string>()
    for (const { parent, child, name } of graph.edges) {
      const [above, below] = [names.get(parent) ?? '', names.get(child) ?? '']
      nodes.get(above)?.children.set(name, below)
      const node = nodes.get(below)
      if (node) node.hasParent = true
      const device = /^\/machine\/peripheral\/([^/]+)\/virtio-backend$/.exec(above)?.[1]
      if (device !== undefined) heads.set(device, below)
    }
    return new BlockGraph(nodes, heads, devices)
  }

  /** The disk with that volume's files; undefined when there is none. */
  diskOf(volumeId: string): FoundDisk | undefined {
    return this.disks.find((disk) => disk.volumeId === volumeId && disk.nodes.length > 0)
  }

  /**
   * Volumes whose files are open under no device: QEMU lists a device no more some time before it lets go of what the device stood on, and
   * until then nobody else may open that.
   */
  heldByNone(): string[] {
    return [...this.nodes.keys()].flatMap((node) => {
      const disk = diskOfFilter(node)
      const isHeld = disk && !this.disks.some(({ name }) => name === disk.name) && this.#layersUnder(node).length > 0
      return isHeld ? [disk.volumeId] : []
    })
  }

  /** The file of a layer's node, relative to the machine's folder. */
  fileOf(node: string): string {
    return this.nodes.get(this.nodes.get(node)?.children.get('file') ?? '')?.file ?? ''
  }

  layerOf(node: string): string {
    return layerOfNode(node) ?? basename(this.fileOf(node), '.qcow2')
  }

  #layersUnder(head: string): string[] {
    const layers: string[] = []
    for (let node = this.nodes.get(head); node !== undefined;) {
      const isLayer = node.driver === 'qcow2'
      if (isLayer) layers.push(node.name)
      // What is no layer is a filter: the limits, or that of a job.
      node = this.nodes.get(node.children.get(isLayer ? 'backing' : 'file') ?? '')
    }
    return layers
  }
}

interface ListedNode {
  'node-name': string
  drv: string
  file: string
  image: { 'virtual-size': number }
}

interface ListedGraph {
  nodes: { id: number; name: string }[]
  edges: { parent: number; child: number; name: string }[]
}
