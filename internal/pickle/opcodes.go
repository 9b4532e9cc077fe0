package pickle

import (
	"errors"
	"fmt"
)

// stop ends a pickle; its value is on top of the stack.
const stop = '.'

// steps are the opcodes by their byte. Absent on purpose: the text forms of
// protocols 0 and 1, INST and OBJ (calls in other clothes), extension codes and
// out-of-band buffers.
var steps = [256]func(*machine) error{
	0x80: func(m *machine) error { return m.skip(1) }, // PROTO
	0x95: func(m *machine) error { return m.skip(8) }, // FRAME

	'N':  func(m *machine) error { return m.push(nil) },   // NONE
	0x88: func(m *machine) error { return m.push(true) },  // NEWTRUE
	0x89: func(m *machine) error { return m.push(false) }, // NEWFALSE
	'K':  func(m *machine) error { return m.unsigned(1) }, // BININT1
	'M':  func(m *machine) error { return m.unsigned(2) }, // BININT2
	'J':  (*machine).int32,                                // BININT
	0x8a: func(m *machine) error { return m.long(1) },     // LONG1
	0x8b: func(m *machine) error { return m.long(4) },     // LONG4
	'G':  (*machine).pushFloat,                            // BINFLOAT

	'U':  func(m *machine) error { return m.text(1) },  // SHORT_BINSTRING
	'T':  func(m *machine) error { return m.text(4) },  // BINSTRING
	0x8c: func(m *machine) error { return m.text(1) },  // SHORT_BINUNICODE
	'X':  func(m *machine) error { return m.text(4) },  // BINUNICODE
	0x8d: func(m *machine) error { return m.text(8) },  // BINUNICODE8
	'C':  func(m *machine) error { return m.bytes(1) }, // SHORT_BINBYTES
	'B':  func(m *machine) error { return m.bytes(4) }, // BINBYTES
	0x8e: func(m *machine) error { return m.bytes(8) }, // BINBYTES8
	0x96: func(m *machine) error { return m.bytes(8) }, // BYTEARRAY8

	'(':  (*machine).mark,                                    // MARK
	'0':  func(m *machine) error { return m.drop(m.pop()) },  // POP
	'1':  (*machine).dropMark,                                // POP_MARK
	'2':  func(m *machine) error { return m.again(m.top()) }, // DUP
	'q':  func(m *machine) error { return m.putAt(1) },       // BINPUT
	'r':  func(m *machine) error { return m.putAt(4) },       // LONG_BINPUT
	0x94: (*machine).memoize,                                 // MEMOIZE
	'h':  func(m *machine) error { return m.getAt(1) },       // BINGET
	'j':  func(m *machine) error { return m.getAt(4) },       // LONG_BINGET

	')':  func(m *machine) error { return m.push(Tuple{}) },         // EMPTY_TUPLE
	0x85: func(m *machine) error { return m.tuple(m.popN(1)) },      // TUPLE1
	0x86: func(m *machine) error { return m.tuple(m.popN(2)) },      // TUPLE2
	0x87: func(m *machine) error { return m.tuple(m.popN(3)) },      // TUPLE3
	't':  func(m *machine) error { return m.tuple(m.popMark()) },    // TUPLE
	']':  func(m *machine) error { return m.push(&List{}) },         // EMPTY_LIST
	0x8f: func(m *machine) error { return m.push(&List{}) },         // EMPTY_SET
	'a':  func(m *machine) error { return m.extend(m.popN(1)) },     // APPEND
	'e':  func(m *machine) error { return m.extend(m.popMark()) },   // APPENDS
	0x90: func(m *machine) error { return m.extend(m.popMark()) },   // ADDITEMS
	0x91: func(m *machine) error { return m.frozen(m.popMark()) },   // FROZENSET
	'}':  func(m *machine) error { return m.push(&Dict{}) },         // EMPTY_DICT
	's':  func(m *machine) error { return m.setItems(m.popN(2)) },   // SETITEM
	'u':  func(m *machine) error { return m.setItems(m.popMark()) }, // SETITEMS

	'c':  (*machine).global,      // GLOBAL
	0x93: (*machine).stackGlobal, // STACK_GLOBAL
	'R':  (*machine).call,        // REDUCE
	0x81: (*machine).call,        // NEWOBJ
	0x92: (*machine).callNamed,   // NEWOBJ_EX
	'b':  (*machine).build,       // BUILD
	'Q':  (*machine).load,        // BINPERSID
}

func (m *machine) skip(n uint64) error {
	_, err := m.take(n)
	return err
}

func (m *machine) unsigned(size int) error {
	n, err := m.number(size)
	if err != nil {
		return err
	}
	return m.push(int64(n))
}

func (m *machine) int32() error {
	b, err := m.take(4)
	if err != nil {
		return err
	}
	return m.pushInt(b)
}

func (m *machine) long(lengthBytes int) error {
	b, err := m.sized(lengthBytes)
	if err != nil {
		return err
	}
	return m.pushInt(b)
}

func (m *machine) text(lengthBytes int) error {
	b, err := m.sized(lengthBytes)
	if err != nil {
		return err
	}
	return m.push(string(b))
}

func (m *machine) bytes(lengthBytes int) error {
	b, err := m.sized(lengthBytes)
	if err != nil {
		return err
	}
	return m.push(append([]byte{}, b...))
}

func (m *machine) mark() error {
	m.marks = append(m.marks, len(m.stack))
	return nil
}

func (m *machine) drop(_ any, err error) error { return err }

func (m *machine) dropMark() error {
	_, err := m.popMark()
	return err
}

func (m *machine) again(v any, err error) error {
	if err != nil {
		return err
	}
	return m.push(v)
}

func (m *machine) putAt(size int) error {
	index, err := m.number(size)
	if err != nil {
		return err
	}
	return m.put(index)
}

func (m *machine) memoize() error { return m.put(uint64(len(m.memo))) }

func (m *machine) getAt(size int) error {
	index, err := m.number(size)
	if err != nil {
		return err
	}
	return m.get(index)
}

func (m *machine) tuple(values Tuple, err error) error {
	if err != nil {
		return err
	}
	return m.push(values)
}

func (m *machine) frozen(values Tuple, err error) error {
	if err != nil {
		return err
	}
	return m.push(&List{Items: values})
}

// extend appends to the list on top. An inert object forgets what it is given.
func (m *machine) extend(values Tuple, err error) error {
	if err != nil {
		return err
	}
	v, err := m.top()
	switch to := v.(type) {
	case *List:
		to.Items = append(to.Items, values...)
	case *Object:
	default:
		return errors.Join(err, fmt.Errorf("appends to %T", v))
	}
	return err
}

// setItems puts keys and values, by turns, into the dictionary on top.
func (m *machine) setItems(values Tuple, err error) error {
	if err != nil {
		return err
	}
	if len(values)%2 != 0 {
		return errors.New("sets a key without a value")
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch to := v.(type) {
	case *Dict:
		for i := 0; i < len(values); i += 2 {
			to.Entries = append(to.Entries, Entry{values[i], values[i+1]})
		}
	case *Object:
	default:
		return fmt.Errorf("sets items of %T", v)
	}
	return nil
}
