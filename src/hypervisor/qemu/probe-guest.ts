/**
 * A boot sector that does what an operating system needs of a processor and some hosts' KVM cannot
 * give: it enters long mode, takes 20 timer interrupts, writes to fresh pages, executes 300 million
 * instructions (0.1 s on a processor, 0.6 s emulated; for ever where KVM itself interprets them),
 * and leaves through isa-debug-exit at port 0x501. Loaded at 0x7c00; AT&T names in the comments.
 */
const CODE = [
  'fa fc 31c0 8ed8 8ec0 8ed0 bc007c', // cli; cld; ds = es = ss = 0; sp = 0x7c00
  'bf0090 b90018 f3ab', // clear 0x9000..0xc000 for the page tables
  'c706009003a0 c70600a003b0', // level 4 at 0x9000 -> level 3 at 0xa000 -> level 2 at 0xb000
  'bf00b0 66b883000000', // level 2: 2 MiB pages, present and writable,
  '668905 660500002000 83c708 81ff00c0 75ee', // 512 of them: 1 GiB, identity mapped
  'e492 0c02 e692', // open the A20 gate
  '66b800900000 0f22d8', // cr3 = 0x9000
  '0f20e0 0c20 0f22e0', // cr4: physical address extension
  '66b9800000c0 0f32 80cc01 0f30', // efer: long mode enable
  '0f01160d7d', // lgdt
  '0f20c0 660d01000080 0f22c0', // cr0: protection and paging
  'ea767c0800', // ljmp to 64-bit code at 0x7c76
  'c7042500820000 f37c0800', // interrupt gate 0x20 at 0x8200: the handler at 0x7cf3,
  'c7042504820000 008e0000 c7042508820000 00000000', // present
  '0f011c25137d0000', // lidt
  'b011e620 b020e621 b004e621 b001e621 b0fee621', // interrupt controller: base 0x20, only the timer
  'b034e643 b09ce640 b02ee640', // timer: every 10 ms
  '31db fb f4', // ebx = 0 ticks; sti; hlt
  'bf00001000 013f 81c700100000 81ff00000002 72f0', // write to each page from 1 to 32 MiB
  '83fb14 72e5', // until 20 ticks were taken
  'b900e1f505 4801c8 ffc9 75f9', // 100 million rounds of three instructions
  'b031 66ba0105 ee f4 ebfd', // leave with 0x31; should that fail, halt
  'ffc3 50 b020 e620 58 48cf', // the handler: count, acknowledge, iretq
  '0000000000000000 ffff0000009aaf00', // descriptors: null, 64-bit code
  '0f00 fd7c0000', // for lgdt
  '0f02 0080000000000000', // for lidt
]

/** What QEMU exits with when the guest has come to its end: (0x31 << 1) | 1. */
export const PROBE_EXIT_CODE = 0x63

/** The guest's disk; the BIOS does not boot from one much smaller. */
export function probeDisk(): Buffer {
  const disk = Buffer.alloc(1024 * 1024)
  Buffer.from(CODE.join('').replaceAll(' ', ''), 'hex').copy(disk)
  disk.writeUInt16LE(0xaa55, 510)
  return disk
}
