import { expect, it } from 'vitest'
import { Book } from './book.ts'
import { decideZone, zonePriceOf } from './zone-market.ts'

const UNITS = 10_000

/** Who is told to be at risk of so many instances, each a hundredth of the zone, where spot may have that many hundredths. */
function advised(held: number, supply: number): string[] {
  const book = new Book()
  for (let id = 0; id < held; id++) {
    book.put({ id: `sir-${String(id).padStart(2, '0')}`, instanceType: 'm5.large', bidPpm: 1_000_000, units: UNITS, isIncumbent: true, arrivedMs: id })
  }
  const { rebalance } = decideZone({
    book, pricing: 'smoothed', nowMs: 0, supplyUnits: supply * UNITS, heldUnits: held * UNITS, keptUnits: held * UNITS, price: zonePriceOf(0, 0),
    pricePpm: () => 340_000,
  })
  return rebalance.map(({ id }) => id)
}

it('Those who would go first are at risk where less than a twentieth of what spot may have is to spare', () => {
  expect(advised(60, 100)).toEqual([])
  expect(advised(97, 100)).toEqual(['sir-96', 'sir-95'])
  expect(advised(100, 100)).toHaveLength(5)
})

it('A small part of a zone that is set aside for spot makes not everybody there one who would go first', () => {
  expect(advised(10, 20)).toEqual([])
  expect(advised(4, 5)).toEqual([])
  expect(advised(20, 20)).toEqual(['sir-19'])
})
