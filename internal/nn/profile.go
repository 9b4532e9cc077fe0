package nn

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Cost is the time that all runs of one kernel took in a step.
type Cost struct {
	Label string
	Runs  int
	Time  time.Duration
}

func (c Cost) String() string {
	return fmt.Sprintf("%10.3f ms %5d × %s", c.Time.Seconds()*1e3, c.Runs, c.Label)
}

// Profile runs the step's part (or, where there is none, the job's) command by command, waiting for each, and returns
// what each kernel took, most costly first. Inputs must have been given.
func (e *Executable) Profile(step int) ([]Cost, error) {
	if err := e.Run(step); err != nil {
		return nil, err
	}
	if err := e.runtime.device.Wait(); err != nil {
		return nil, err
	}
	program := e.programs[PerStep]
	if program.Len() == 0 {
		program = e.programs[PerJob]
	}
	costs := map[string]*Cost{}
	for i, label := range program.Labels() {
		start := time.Now()
		if err := program.RunRange(step, i, i+1); err != nil {
			return nil, err
		}
		if err := e.runtime.device.Wait(); err != nil {
			return nil, err
		}
		c := costs[label]
		if c == nil {
			c = &Cost{Label: label}
			costs[label] = c
		}
		c.Runs++
		c.Time += time.Since(start)
	}
	var list []Cost
	for _, c := range costs {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Cost) int { return cmp.Compare(b.Time, a.Time) })
	return list, nil
}
