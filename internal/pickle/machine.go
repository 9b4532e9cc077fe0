package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

const (
	// memoryLimit bounds what a stream may make of itself. A full training
	// checkpoint of 5,000 tensors charges about 10 MB.
	memoryLimit = 64 << 20
	// opcodeCost is charged for every opcode: about what a value, its place on
	// the stack and a memo entry take.
	opcodeCost = 64
	// memoLimit is the greatest memo index; picklers number from 0.
	memoLimit = memoryLimit / opcodeCost
)

var (
	errUnderflow = errors.New("takes more values than there are")
	errNoMark    = errors.New("has no mark to go back to")
	errMemory    = errors.New("needs more memory than a list of tensors does")
)

// machine is the stack machine that a pickle is a program for.
type machine struct {
	data   []byte
	at     int // the next byte
	opcode int // where the opcode in progress begins
	stack  []any
	marks  []int // heights of the stack
	memo   map[uint64]any
	left   int // bytes that it may still take
	rules  Rules
}

// run goes on to the opcode STOP.
func (m *machine) run() (any, error) {
	for {
		m.opcode = m.at
		op, err := m.take(1)
		if err != nil {
			return nil, err
		}
		if err := m.spend(opcodeCost); err != nil {
			return nil, err
		}
		if op[0] == stop {
			return m.pop()
		}
		step := steps[op[0]]
		if step == nil {
			return nil, fmt.Errorf("opcode %#02x (%q) is not used by protocols 2 to 5 of torch.save", op[0], op)
		}
		if err := step(m); err != nil {
			return nil, err
		}
	}
}

// spend charges bytes against the limit.
func (m *machine) spend(bytes int) error {
	if m.left -= bytes; m.left < 0 {
		return fmt.Errorf("%w (%d MB)", errMemory, memoryLimit>>20)
	}
	return nil
}

// take is the next n bytes of the stream, which must be there.
func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.at) {
		return nil, fmt.Errorf("needs %d bytes, %d are left: %w", n, len(m.data)-m.at, io.ErrUnexpectedEOF)
	}
	taken := m.data[m.at:][:n]
	m.at += int(n)
	return taken, nil
}

// number is an unsigned integer of so many bytes.
func (m *machine) number(size int) (uint64, error) {
	b, err := m.take(uint64(size))
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), nil
}

// sized is what follows a length of so many bytes; it is charged.
func (m *machine) sized(lengthBytes int) ([]byte, error) {
	n, err := m.number(lengthBytes)
	if err != nil {
		return nil, err
	}
	b, err := m.take(n)
	if err != nil {
		return nil, err
	}
	return b, m.spend(len(b))
}

// line is text up to a line feed.
func (m *machine) line() (string, error) {
	end := slices.Index(m.data[m.at:min(len(m.data), m.at+1<<10)], '\n')
	if end < 0 {
		return "", errors.New("name without an end")
	}
	text, err := m.take(uint64(end))
	m.at++
	return string(text), errors.Join(err, m.spend(end))
}

func (m *machine) push(v any) error {
	m.stack = append(m.stack, v)
	return nil
}

// floor is the height that the values above the last mark stand on.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *machine) pop() (any, error) {
	v, err := m.top()
	if err == nil {
		m.stack = m.stack[:len(m.stack)-1]
	}
	return v, err
}

func (m *machine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, errUnderflow
	}
	return m.stack[len(m.stack)-1], nil
}

// popN takes the last n values off, in their order.
func (m *machine) popN(n int) (Tuple, error) {
	if len(m.stack)-m.floor() < n {
		return nil, errUnderflow
	}
	from := len(m.stack) - n
	values := slices.Clone(m.stack[from:])
	m.stack = m.stack[:from]
	return values, nil
}

// popMark takes off all values above the last mark, and the mark.
func (m *machine) popMark() (Tuple, error) {
	if len(m.marks) == 0 {
		return nil, errNoMark
	}
	values, err := m.popN(len(m.stack) - m.floor())
	m.marks = m.marks[:len(m.marks)-1]
	return values, err
}

// pushInt pushes a two's complement integer of any length.
func (m *machine) pushInt(b []byte) error {
	if len(b) > 8 {
		return m.push(Long(b))
	}
	var wide [8]byte
	if len(b) > 0 && b[len(b)-1]&0x80 != 0 {
		wide = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
	}
	copy(wide[:], b)
	return m.push(int64(binary.LittleEndian.Uint64(wide[:])))
}

// pushFloat pushes a float64, which alone is stored big-endian.
func (m *machine) pushFloat() error {
	b, err := m.take(8)
	if err != nil {
		return err
	}
	return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
}

// put remembers the value on top.
func (m *machine) put(index uint64) error {
	if index > memoLimit {
		return fmt.Errorf("memo index %d, the limit is %d", index, memoLimit)
	}
	v, err := m.top()
	m.memo[index] = v
	return err
}

// get pushes a remembered value again.
func (m *machine) get(index uint64) error {
	v, ok := m.memo[index]
	if !ok {
		return fmt.Errorf("memo index %d was never set", index)
	}
	return m.push(v)
}
