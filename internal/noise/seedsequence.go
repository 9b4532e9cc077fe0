package noise

// seedWords is NumPy's SeedSequence (after O'Neill, "Developing a seed_seq alternative", 2015): n words made of an entropy and of
// the place of a sequence among those spawned from it, with a pool of the given size.
func seedWords(entropy uint64, spawn []uint32, pool, n int) []uint32 {
	words := []uint32{uint32(entropy)}
	if high := uint32(entropy >> 32); high != 0 {
		words = append(words, high)
	}
	if len(spawn) > 0 {
		words = append(append(words, make([]uint32, pool-len(words))...), spawn...)
	}
	return drawWords(mixWords(words, pool), n)
}

// mixWords spreads the words over a pool.
func mixWords(words []uint32, size int) []uint32 {
	hash := newWordHash(0x43b0d7e5, 0x931e8875)
	mixed := make([]uint32, size)
	for i := range mixed {
		var word uint32
		if i < len(words) {
			word = words[i]
		}
		mixed[i] = hash(word)
	}
	for from := range mixed {
		for to := range mixed {
			if from != to {
				mixed[to] = mixTwo(mixed[to], hash(mixed[from]))
			}
		}
	}
	for _, word := range words[min(size, len(words)):] {
		for to := range mixed {
			mixed[to] = mixTwo(mixed[to], hash(word))
		}
	}
	return mixed
}

func drawWords(pool []uint32, n int) []uint32 {
	hash := newWordHash(0x8b51f9dd, 0x58f38ded)
	words := make([]uint32, n)
	for i := range words {
		words[i] = hash(pool[i%len(pool)])
	}
	return words
}

// newWordHash hashes each word with the next of a row of constants.
func newWordHash(constant, factor uint32) func(uint32) uint32 {
	return func(word uint32) uint32 {
		word ^= constant
		constant *= factor
		word *= constant
		return word ^ word>>16
	}
}

func mixTwo(x, y uint32) uint32 {
	mixed := 0xca01f9dd*x - 0x4973f715*y
	return mixed ^ mixed>>16
}
