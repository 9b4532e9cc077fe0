package sampler

import (
	"fmt"
	"math"
	"slices"
)

// unipc is UniPC (Zhao et al. 2023), with both of its kinds of B(h). At the start of a step, what the network sees corrects the
// step before; then the polynomial through all estimates predicts this one. It remembers where the corrected step began.
func unipc(st *step, x []float32) error {
	now, err := st.denoise(x, st.from)
	if err != nil {
		return err
	}
	if st.next > 0 {
		if err := st.correct(x, now); err != nil {
			return err
		}
	}
	st.remember(now, slices.Clone(x))
	past := append([][]float32{now}, st.estimates()...)
	order := st.unipcOrder(st.next)
	return st.unipcMove(x, st.next, past[:order], nil)
}

// unipcOrder of a step: lower at the beginning, where there are no estimates yet, and at the end.
func (st *step) unipcOrder(i int) int {
	return min(st.grid.solver.order, st.grid.Steps()-i, i+1)
}

// correct does the step before again, knowing what the network sees at its end.
func (st *step) correct(x, now []float32) error {
	copy(x, st.history[0])
	return st.unipcMove(x, st.next-1, st.estimates()[:st.unipcOrder(st.next-1)], now)
}

// unipcMove moves x over step i of the grid with estimates at its start and before, newest first, and the one at its end if it
// is known.
func (st *step) unipcMove(x []float32, i int, estimates [][]float32, ahead []float32) error {
	from, to := st.grid.from(i), st.grid.Points[i+1]
	h := to.logRatio() - from.logRatio()
	var ratios []float64 // places of the other estimates, in steps from the start
	for k := 1; k < len(estimates); k++ {
		ratios = append(ratios, (st.grid.Points[i-k].logRatio()-from.logRatio())/h)
	}
	others := estimates[1:]
	if ahead != nil {
		ratios, others = append(ratios, 1), append(slices.Clone(others), ahead)
	}
	integrateInto := slices.Clone(x)
	integrate(integrateInto, estimates[0], from, to)
	if len(others) > 0 {
		weights, err := st.grid.solver.weights(h, ratios, ahead != nil)
		if err != nil {
			return fmt.Errorf("unipc: %w", err)
		}
		bend(integrateInto, estimates[0], others, each(weights, func(w float64) float64 { return w * to.Signal }))
	}
	copy(x, integrateInto)
	return nil
}

// bend subtracts weighted differences of other estimates from the first.
func bend(x, first []float32, others [][]float32, weights []float64) {
	for i := range x {
		sum := float64(x[i])
		for k, other := range others {
			sum -= weights[k] * (float64(other[i]) - float64(first[i]))
		}
		x[i] = float32(sum)
	}
}

// solver is how UniPC is set up.
type solver struct {
	order int
	bh2   bool // B(h) = e^h − 1 in place of h
}

// weights solves the paper's equation 5 for the differences at the given places.
func (s solver) weights(h float64, ratios []float64, corrects bool) ([]float64, error) {
	n := len(ratios)
	b := -h
	if s.bh2 {
		b = math.Expm1(-h)
	}
	var solution []float64
	if n == 1 && (!corrects || ratios[0] == 1) { // the usual shortcut
		solution = []float64{0.5}
	} else {
		matrix, right := make([][]float64, n), make([]float64, n)
		phi, factorial := math.Expm1(-h)/-h-1, 1.0
		for row := range n {
			matrix[row] = make([]float64, n)
			for k, ratio := range ratios {
				matrix[row][k] = math.Pow(ratio, float64(row))
			}
			right[row] = phi * factorial / b
			factorial *= float64(row + 2)
			phi = phi/-h - 1/factorial
		}
		var err error
		if solution, err = solve(matrix, right); err != nil {
			return nil, err
		}
	}
	for k := range solution {
		solution[k] *= b / ratios[k]
	}
	return solution, nil
}

// solve is Gauss's elimination with the largest pivot; matrix and right are used up.
func solve(matrix [][]float64, right []float64) ([]float64, error) {
	n := len(right)
	for column := range n {
		pivot := column
		for row := column; row < n; row++ {
			if math.Abs(matrix[row][column]) > math.Abs(matrix[pivot][column]) {
				pivot = row
			}
		}
		if matrix[pivot][column] == 0 {
			return nil, fmt.Errorf("two levels of noise are the same")
		}
		matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
		right[column], right[pivot] = right[pivot], right[column]
		for row := range n {
			if factor := matrix[row][column] / matrix[column][column]; row != column && factor != 0 {
				for k := column; k < n; k++ {
					matrix[row][k] -= factor * matrix[column][k]
				}
				right[row] -= factor * right[column]
			}
		}
	}
	for k := range right {
		right[k] /= matrix[k][k]
	}
	return right, nil
}
