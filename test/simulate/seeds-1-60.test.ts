import { describeSeeds } from './seeds.ts'

// In two files, so that both run at once.
describeSeeds(1, 60)
