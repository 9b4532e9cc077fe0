package sampler

import "math"

// restart is restart sampling (Xu et al. 2023) as A1111 has it: Heun's method, and at the places that restartGrid chose the
// noise of a higher level is put back.
func restart(st *step, x []float32) error {
	if i := st.next; i > 0 && st.from != st.grid.Points[i] {
		before := st.grid.Points[i]
		up := math.Sqrt(st.from.Noise*st.from.Noise - before.Noise*before.Noise)
		if err := st.addNoise(x, up, st.from); err != nil {
			return err
		}
	}
	return heun(st, x)
}

// restartGrid is A1111's: from 20 steps on a part of them is done once more (from 36 on twice) between sigma 0.1 and 2, on
// Karras levels.
func (m *Model) restartGrid(kind kind, sigmas []float64) *Grid {
	steps := len(sigmas) - 1
	if steps < 20 {
		return m.sigmaGrid(kind, sigmas)
	}
	again, times := 9, 1
	if steps >= 36 {
		again, times = steps/4, 2
	}
	main := append(KarrasSigmas(steps-again*times, sigmas[steps-1], sigmas[0], 7), 0)
	low, high := nearest(main, 0.1), nearest(main, 2)
	grid := m.sigmaGrid(kind, main[:1])
	grid.restarts = map[int]Point{}
	for i, sigma := range main[1:] {
		grid.Points = append(grid.Points, grid.at(sigma))
		if i+1 != low || high >= low {
			continue
		}
		levels := KarrasSigmas(again+1, main[low], main[high], 7)
		for range times {
			grid.restarts[grid.Steps()] = grid.at(levels[0])
			for _, level := range levels[1:] {
				grid.Points = append(grid.Points, grid.at(level))
			}
		}
	}
	return grid
}

// nearest is the index of the value nearest to one; the first of equals.
func nearest(values []float64, to float64) int {
	best := 0
	for i, v := range values {
		if math.Abs(v-to) < math.Abs(values[best]-to) {
			best = i
		}
	}
	return best
}
