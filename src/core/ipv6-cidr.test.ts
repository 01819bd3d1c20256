import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalIpv6Cidr } from './ipv6-cidr.ts'

describe('canonicalIpv6Cidr', () => {
  it.each([
    ['::/0', '::/0'],
    ['2001:DB8::1/32', '2001:db8::/32'],
    ['2001:0db8:0000:0000:0001:0000:0000:0001/128', '2001:db8::1:0:0:1/128'],
    ['fe80::ffff/10', 'fe80::/10'],
    ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/65', 'ffff:ffff:ffff:ffff:8000::/65'],
    ['::ffff:10.0.0.1/128', '::ffff:a00:1/128'],
    ['2001:db8:0:1:1:1:1:1/128', '2001:db8:0:1:1:1:1:1/128'],
  ])('reads %s as %s', (text, expected) => {
    expect(canonicalIpv6Cidr(text)).toBe(expected)
  })

  it.each(['', '::', '::/129', '::/-1', '::/', '/0', '::/0/0', '10.0.0.0/8', 'fe80::1%eth0/64', ':::/0', '1:2:3/0',
    '::/0]', '::1]/x[/0'])(
    'refuses %j', (text) => {
      expect(canonicalIpv6Cidr(text)).toBeUndefined()
    })

  it('takes its own answers for canonical, and never fails', () => {
    const address = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 })
      .map((groups) => groups.map((group) => group.toString(16)).join(':'))
    fc.assert(fc.property(address, fc.nat(128), (text, prefix) => {
      const canonical = canonicalIpv6Cidr(`${text}/${prefix}`)
      expect(canonical === undefined ? undefined : canonicalIpv6Cidr(canonical)).toBe(canonical)
      expect(canonical).toMatch(new RegExp(`/${prefix}$`))
    }))
    fc.assert(fc.property(fc.string(), (text) => {
      canonicalIpv6Cidr(text)
    }))
  })
})
