/**
 * A guest in one boot sector: it counts its boots on its disk, says "test guest, boot N" on the
 * serial port, then powers off at the ACPI power button or a "p" on the serial port, and resets at
 * an "r". Loaded at 0x7c00, 16-bit throughout.
 */
const CODE = [
  'fa 31c0 8ed8 8ec0 8ed0 bc007c 88168e7c', // cli; flat segments, a stack; keep the boot drive
  'b80102 e85500 fe060080', // read the second sector to 0x8000, increment its first byte,
  'b80103 e84b00', // write it back
  'a00080 0430 a2a07c be8f7c e84c00', // its digit into the greeting; print that
  'ba0206 b80001 ef', // ACPI PM1 enable: the power button
  'fb f4', // loop: sti; hlt (the timer wakes it)
  'ba0006 ed f6c401 751c', // PM1 status: button pressed?
  'bafd03 ec a801 74ed', // a byte on the serial port? else loop
  'baf803 ec 3c70 7412 3c72 75e1', // "p": off; not "r": loop
  'baf90c b006 ee ebd9', // reset through port 0xcf9
  'bea37c e81800', // button: say so
  'ba0406 b80020 ef ebca', // off: ACPI PM1 control, sleep state 5
  'bb0080 b90200 b600 8a168e7c cd13 c3', // disk: int 13h on sector 2 at 0x8000
  'bafd03 ec a820 74fb ac 84c0 7406 baf803 ee ebed c3', // print: the text at si to the serial port
  '00', // the boot drive
]
const TEXTS = 'test guest, boot 0\n\0power button\n\0'

/** Its raw disk. */
export function testGuestDisk(): Buffer {
  const disk = Buffer.alloc(1024 * 1024)
  const code = Buffer.from(CODE.join('').replaceAll(' ', ''), 'hex')
  Buffer.concat([code, Buffer.from(TEXTS)]).copy(disk)
  disk.writeUInt16LE(0xaa55, 510)
  return disk
}
