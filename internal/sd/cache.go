package sd

import "slices"

// cache keeps the values used last.
type cache[V any] struct {
	limit  int
	order  []string // keys, the one used last at the end
	values map[string]V
	drop   func(V) // gives a value's resources back; may be nil
}

func newCache[V any](limit int, drop func(V)) *cache[V] {
	return &cache[V]{limit: limit, values: map[string]V{}, drop: drop}
}

// get finds a value and marks it as used.
func (c *cache[V]) get(key string) (V, bool) {
	v, ok := c.values[key]
	if ok {
		c.touch(key)
	}
	return v, ok
}

func (c *cache[V]) touch(key string) {
	if at := slices.Index(c.order, key); at >= 0 {
		c.order = slices.Delete(c.order, at, at+1)
	}
	c.order = append(c.order, key)
}

// put keeps a value and drops those unused for longest beyond the limit.
func (c *cache[V]) put(key string, v V) {
	c.values[key] = v
	c.touch(key)
	c.shrink(c.limit)
}

// shrink drops all but the n values used last.
func (c *cache[V]) shrink(n int) {
	for len(c.order) > n {
		c.remove(c.order[0])
	}
}

// remove drops a value.
func (c *cache[V]) remove(key string) {
	at := slices.Index(c.order, key)
	if at < 0 {
		return
	}
	if c.drop != nil {
		c.drop(c.values[key])
	}
	delete(c.values, key)
	c.order = slices.Delete(c.order, at, at+1)
}
