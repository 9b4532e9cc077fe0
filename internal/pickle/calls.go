package pickle

import (
	"errors"
	"fmt"
)

// global names something by two lines of text.
func (m *machine) global() error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	return m.pushGlobal(module, name)
}

// stackGlobal names something by two strings on the stack.
func (m *machine) stackGlobal() error {
	names, err := m.popN(2)
	if err != nil {
		return err
	}
	module, ok1 := names[0].(string)
	name, ok2 := names[1].(string)
	if !ok1 || !ok2 {
		return errors.New("names something by what is not text")
	}
	return m.pushGlobal(module, name)
}

func (m *machine) pushGlobal(module, name string) error {
	full := module + "." + name
	if err := m.spend(len(full)); err != nil {
		return err
	}
	f, ok := m.rules.Globals[full]
	if !ok {
		return &RefusedError{Name: full}
	}
	return m.push(&Global{Name: full, make: f})
}

// call calls the global under its arguments.
func (m *machine) call() error {
	args, err := m.pop()
	if err != nil {
		return err
	}
	return m.callWith(args)
}

// callNamed is call with named arguments, which are left aside.
func (m *machine) callNamed() error {
	values, err := m.popN(2)
	if err != nil {
		return err
	}
	return m.callWith(values[0])
}

func (m *machine) callWith(args any) error {
	callee, err := m.pop()
	if err != nil {
		return err
	}
	tuple, ok := args.(Tuple)
	if !ok {
		return fmt.Errorf("calls with %T in place of arguments", args)
	}
	g, ok := callee.(*Global)
	if !ok {
		return fmt.Errorf("calls %T, which is not something named", callee)
	}
	if err := m.spend(opcodeCost * members(tuple)); err != nil {
		return err
	}
	v, err := g.Call(tuple)
	if err != nil {
		return fmt.Errorf("%s: %w", g.Name, err)
	}
	return m.push(v)
}

// members counts what a function may copy of its arguments, which many calls
// can have in common.
func members(args Tuple) (n int) {
	for _, arg := range args {
		switch arg := arg.(type) {
		case Tuple:
			n += len(arg)
		case *List:
			n += len(arg.Items)
		case *Dict:
			n += len(arg.Entries)
		}
	}
	return n
}

// Call makes what calling the global results in.
func (g *Global) Call(args Tuple) (any, error) {
	if g.make == nil {
		return &Object{Class: g.Name, Args: args}, nil
	}
	return g.make(args)
}

// build gives the value on top a state, which only an inert object keeps: the
// others have no attributes that matter.
func (m *machine) build() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	v, err := m.top()
	if o, ok := v.(*Object); ok {
		o.State = state
	}
	return err
}

// load replaces a persistent id by what it stands for.
func (m *machine) load() error {
	id, err := m.pop()
	if err != nil {
		return err
	}
	if m.rules.Load == nil {
		return errors.New("refers to a storage where there are none")
	}
	v, err := m.rules.Load(id)
	if err != nil {
		return err
	}
	return m.push(v)
}
