import { type Random, seededRandom } from '../core/random.ts'
import type { BackgroundKey } from './background.ts'
import { WHOLE_PPM } from './clearing.ts'

// The constants are chosen so that series look like test/fixtures/spot-trace.m5.large.csv; docs/spot-prices.md compares them.
// There is no logarithm, power or cosine in here: their last digits are not the same everywhere, and series have to be.

const HOUR_MS = 3_600_000
/** A price that stays is told again after so long. */
const REPEATED_MS = 24 * HOUR_MS
/** A ten-thousandth of a dollar for an m5.large, in the trace the least step. */
const STEP_PPM = 1_042
export const FLOOR_PPM = 50_000
/** Where the means of zones are, of the least of a mean and what is between it and on demand. */
const ZONE_SHARE = 0.06
/** What the wish of all others strays from the mean, of the same; never more than three times that. */
const STRAY_SHARE = 0.04
/** Within this time a stray is forgotten. */
const RELAXED_MS = 40 * 24 * HOUR_MS
/** Of so many steps of difference, how likely one is made at a look. */
const STEPS_TO_BE_SURE = 40
const LEAST_CHANCE = 0.2
/** From so many steps of difference on, two are made at once; from twice as many, three. */
const STEPS_TO_HURRY = 12
/** What a look takes for a difference that is not there, in steps. */
const CONFUSION_STEPS = 8

/** How many surges begin in 30 days: -ln(1 - p) for the middle p of each band, 2.5, 7.5, 12.5, 17.5 and 25 %. */
const SURGES = [0.0253, 0.078, 0.1335, 0.1924, 0.2877]
const SURGES_MS = 30 * 24 * HOUR_MS
/** A surge takes the price this far from the mean towards on demand, at least. */
const SURGE_SHARE = 0.5
/** In so many steps. Back it goes as quickly, until it is so many times the usual stray from what others would pay. */
const RESTLESS_STRAYS = 3
const SURGE_STEPS = 6

/** One series, as far as it has been made. */
export class BackgroundSeries {
  /** Of each point; two lists of numbers take a quarter of the memory of a list of objects. */
  readonly atMs: number[]
  readonly ppm: number[]
  readonly meanPpm: number
  readonly #random: Random
  readonly #strayPpm: number
  readonly #surgesPerMs: number
  /** What the others would pay, beside the mean and a surge. */
  #deviationPpm: number
  #surge: { heightPpm: number; untilMs: number } | undefined
  #lookedMs: number
  #nextLookMs: number

  constructor(key: BackgroundKey) {
    this.#random = seededRandom(hashOf(`${key.seed}/${key.instanceType}/${key.zone}`))
    const typical = WHOLE_PPM * (1 - key.savingPercent / 100)
    this.meanPpm = Math.round(typical + ZONE_SHARE * Math.min(typical, WHOLE_PPM - typical) * (2 * this.#random.next() - 1))
    this.#strayPpm = STRAY_SHARE * Math.min(this.meanPpm, WHOLE_PPM - this.meanPpm)
    this.#surgesPerMs = (SURGES[key.band] ?? 0) / SURGES_MS
    this.#deviationPpm = this.#strayPpm * this.#normal()
    this.atMs = [key.originMs]
    this.ppm = [bounded(this.meanPpm + this.#deviationPpm)]
    this.#lookedMs = key.originMs
    this.#nextLookMs = key.originMs + this.#untilNextLook()
  }

  /** Makes what is missing until then; what there is stays. */
  extend(untilMs: number): void {
    for (;;) {
      const lastMs = this.atMs.at(-1) ?? 0
      const nextMs = Math.min(this.#nextLookMs, lastMs + REPEATED_MS)
      if (nextMs > untilMs) return
      const lastPpm = this.ppm.at(-1) ?? 0
      const ppm = nextMs === this.#nextLookMs ? this.#look(lastPpm) : lastPpm
      // A look that changes nothing tells nothing, but for when it is time to tell it again.
      if (ppm === lastPpm && nextMs < lastMs + REPEATED_MS) continue
      this.atMs.push(nextMs)
      this.ppm.push(ppm)
    }
  }

  /** What the price is after a look at what others would pay. */
  #look(lastPpm: number): number {
    const nowMs = this.#nextLookMs
    const elapsedMs = nowMs - this.#lookedMs
    const share = elapsedMs / RELAXED_MS
    const drawn = this.#deviationPpm * (1 - share) + this.#strayPpm * Math.sqrt(2 * share) * this.#normal()
    this.#deviationPpm = Math.max(-3 * this.#strayPpm, Math.min(3 * this.#strayPpm, drawn))
    if (this.#surge && this.#surge.untilMs <= nowMs) this.#surge = undefined
    else if (!this.#surge && this.#random.next() < elapsedMs * this.#surgesPerMs) this.#surge = this.#newSurge(nowMs)
    const wishPpm = this.meanPpm + this.#deviationPpm + (this.#surge?.heightPpm ?? 0)
    const ppm = bounded(this.#isRestless(lastPpm) ? this.#runTo(wishPpm, lastPpm) : this.#walkTo(wishPpm, lastPpm))
    this.#lookedMs = nowMs
    this.#nextLookMs = nowMs + (this.#isRestless(ppm) ? this.#between(HOUR_MS / 3, HOUR_MS) : this.#untilNextLook())
    return ppm
  }

  /** In a surge, and on the way back from one. */
  #isRestless(ppm: number): boolean {
    return this.#surge !== undefined || ppm - this.meanPpm - this.#deviationPpm > RESTLESS_STRAYS * this.#strayPpm
  }

  #newSurge(nowMs: number): { heightPpm: number; untilMs: number } {
    const share = this.#between(SURGE_SHARE + 0.1, 1)
    return { heightPpm: share * (WHOLE_PPM - this.meanPpm), untilMs: nowMs + this.#between(8, 48) * HOUR_MS }
  }

  #runTo(wishPpm: number, lastPpm: number): number {
    const most = Math.max(STEP_PPM, (WHOLE_PPM - this.meanPpm) / SURGE_STEPS)
    return lastPpm + wholeSteps(Math.max(-most, Math.min(most, wishPpm - lastPpm)))
  }

  #walkTo(wishPpm: number, lastPpm: number): number {
    const steps = (wishPpm - lastPpm) / STEP_PPM
    const seen = steps + CONFUSION_STEPS * (2 * this.#random.next() - 1)
    const chance = LEAST_CHANCE + Math.abs(steps) / STEPS_TO_BE_SURE
    if (this.#strayPpm === 0 || this.#random.next() >= chance) return lastPpm
    const most = 1 + Math.min(2, Math.floor(Math.abs(seen) / STEPS_TO_HURRY))
    return lastPpm + Math.sign(seen) * STEP_PPM * (1 + this.#random.int(most))
  }

  #untilNextLook(): number {
    return this.#between(5 * HOUR_MS, 7.5 * HOUR_MS)
  }

  /** Whole where the bounds are milliseconds. */
  #between(low: number, high: number): number {
    const value = low + this.#random.next() * (high - low)
    return high > 1000 ? Math.round(value) : value
  }

  /** As good as normal, of mean 0 and variance 1. */
  #normal(): number {
    const { next } = this.#random
    return (next() + next() + next() + next() - 2) * Math.sqrt(3)
  }
}

function wholeSteps(ppm: number): number {
  return Math.trunc(ppm / STEP_PPM) * STEP_PPM
}

function bounded(ppm: number): number {
  return Math.max(FLOOR_PPM, Math.min(WHOLE_PPM, Math.round(ppm)))
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash
}
