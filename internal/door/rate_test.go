package door

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// at asks a door as a caller from an address would.
func at(d *Door, address, path string, headers ...string) *httptest.ResponseRecorder {
	m := http.NewServeMux()
	m.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {})
	r := httptest.NewRequest("GET", "http://localhost"+path, nil)
	r.RemoteAddr = address
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	d.Guard(m).ServeHTTP(w, r)
	return w
}

func health(r *http.Request) bool { return r.URL.Path == "/health" }

// TestRate: a client has a burst of four seconds, then its rate, and no part of
// another's; who waits as long as it is told is let in.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{RateLimit: 0.5, Public: health})
		const one, same, other = "[2001:db8:1:2::3]:1", "[2001:db8:1:2::4]:2", "192.0.2.7:1"
		for i := range 2 {
			if w := at(d, one, "/v1"); w.Code != 200 {
				t.Errorf("request %d: %d", i, w.Code)
			}
		}
		w := at(d, same, "/v1")
		wait, err := strconv.Atoi(w.Header().Get("Retry-After"))
		if w.Code != 429 || err != nil || wait < 2 || wait > 3 {
			t.Errorf("one too many: %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
		}
		if w := at(d, other, "/v1"); w.Code != 200 {
			t.Errorf("another client: %d", w.Code)
		}
		for range 100 {
			if w := at(d, one, "/health"); w.Code != 200 {
				t.Fatalf("what is public: %d", w.Code)
			}
		}
		time.Sleep(time.Duration(wait) * time.Second)
		if w := at(d, one, "/v1"); w.Code != 200 {
			t.Errorf("after %d s: %d", wait, w.Code)
		}
		if err := d.Admit("socket"); err != nil {
			t.Error(err)
		}
		d.Admit("socket")
		if err := d.Admit("socket"); err == nil {
			t.Error("a third command was admitted")
		}
	})
}

// TestRateByName: a client with a key of its own is known by it, wherever it is.
func TestRateByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{RateLimit: 0.25, Keys: []Key{{Name: "anna", Secret: "a"}, {Name: "bert", Secret: "b"}}})
		for i, row := range []struct {
			address, token string
			status         int
		}{
			{"192.0.2.1:1", "a", 200}, {"192.0.2.2:1", "a", 429}, {"192.0.2.1:1", "b", 200}, {"192.0.2.1:1", "b", 429},
		} {
			if w := at(d, row.address, "/v1", "Authorization", "Bearer "+row.token); w.Code != row.status {
				t.Errorf("request %d: %d, want %d", i, w.Code, row.status)
			}
		}
	})
}

// TestGuesses: who tries many tokens has to wait, also with the right one, and
// comes in when it has waited; nobody else is hindered.
func TestGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Keys: []Key{{Secret: "right"}}})
		const guesser, local = "192.0.2.7:1", "127.0.0.1:1"
		ask := func(from, token string, want int) (w *httptest.ResponseRecorder) {
			t.Helper()
			if w = at(d, from, "/v1", "Authorization", "Bearer "+token); w.Code != want {
				t.Errorf("%s with %q: %d, want %d", from, token, w.Code, want)
			}
			return w
		}
		for range 1000 { // a page that does not know that the token has changed
			ask(guesser, "old", 401)
		}
		for i := range guessesBurst - 1 {
			ask(guesser, fmt.Sprint("guess ", i), 401)
			ask(local, fmt.Sprint("guess ", i), 401)
		}
		w := ask(guesser, "another", 429)
		ask(guesser, "right", 429)
		for i := range guessesBurst { // as a page of another site can have a browser do
			at(d, guesser, fmt.Sprint("/?token=guess", i))
		}
		if w := at(d, guesser, "/?token=right"); w.Code != 429 || w.Result().Header.Get("Set-Cookie") != "" {
			t.Errorf("the page's address: %d", w.Code)
		}
		if w := at(d, guesser, "/v1"); w.Code != 401 {
			t.Errorf("without a token: %d", w.Code)
		}
		ask("192.0.2.8:1", "right", 200)
		const lured = "192.0.2.9:1"
		for i := range 2 * guessesBurst {
			at(d, lured, fmt.Sprint("/?token=guess", i))
		}
		ask(lured, "right", 200)
		for i := range 100 {
			ask(local, fmt.Sprint("more ", i), 401)
		}
		ask(local, "right", 200)
		wait, err := strconv.Atoi(w.Header().Get("Retry-After"))
		if err != nil || wait < 6 || wait > 7 {
			t.Fatalf("Retry-After %q", w.Header().Get("Retry-After"))
		}
		time.Sleep(time.Duration(wait) * time.Second)
		ask(guesser, "right", 200)
	})
}

// TestRemembered: no more clients are remembered than there is room for, nor
// longer than there is something to remember.
func TestRemembered(t *testing.T) {
	m := newMeter(1, 4)
	now := time.Now()
	for i := range rememberedLimit + 100 {
		if wait := m.take(fmt.Sprint(i), now); wait > 0 {
			t.Fatalf("client %d waits %v", i, wait)
		}
	}
	if n := len(m.of); n != rememberedLimit {
		t.Errorf("%d are remembered", n)
	}
	m.take("late", now.Add(time.Minute))
	if n := len(m.of); n != 1 {
		t.Errorf("%d are remembered after a minute", n)
	}
}
