package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postmend/srs"
)

var (
	morning = time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)
	key     = srs.Key{Day: morning.Unix() / 86400, Token: "abcdefghijklmnopqrst"}
)

const sender = "bounces+12345678-7c3e-recipient=forwarded.example@em1234.newsletter.example.net"

func at(t testing.TB, url string, now time.Time) Store {
	t.Helper()
	s, err := Open(Options{URL: url, Timeout: 5 * time.Second, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newFiles gives a store in a folder that does not exist yet, and the path of the entry under key.
func newFiles(t testing.TB) (s Store, dir, entry string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "srs")
	if os.Geteuid() == 0 { // root makes no folder, because it would not be the account's
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return at(t, "dir:"+dir, morning), dir, filepath.Join(dir, "2026-11-28", "ab", key.Token)
}

func put(t testing.TB, s Store, key srs.Key, sender string) {
	t.Helper()
	if err := s.Put(t.Context(), key, sender); err != nil {
		t.Fatal(err)
	}
}

func wantSender(t testing.TB, s Store, key srs.Key, want string) {
	t.Helper()
	if got, err := s.Get(t.Context(), key); got != want || err != nil {
		t.Errorf("Get = %q, %v; want %q", got, err, want)
	}
}

func wantTrouble(t testing.TB, s Store, key srs.Key) {
	t.Helper()
	if got, err := s.Get(t.Context(), key); err == nil || got != "" || errors.Is(err, srs.ErrUnknown) {
		t.Errorf("Get = %q, %v; want an error that does not say that there is no entry", got, err)
	}
}

func TestAnEntryComesBackAndIsItsOwnersAlone(t *testing.T) {
	s, dir, entry := newFiles(t)
	for _, sender := range []string{sender, `"odd@local \" x"@example.net`, "ü@example.net",
		strings.Repeat("x", 300) + "@example.net"} {
		put(t, s, key, sender)
		put(t, s, key, sender)
		wantSender(t, s, key, sender)
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(filepath.Dir(entry)); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	another := srs.Key{Day: key.Day, Token: "abcdefghijklmnopqrsz"}
	if _, err := s.Get(t.Context(), another); !errors.Is(err, srs.ErrUnknown) {
		t.Errorf("an entry that is not there: %v", err)
	}
}

func TestADamagedEntryIsTroubleNotAnotherSender(t *testing.T) {
	s, _, entry := newFiles(t)
	other := srs.Key{Day: key.Day, Token: "abaaaaaaaaaaaaaaaaaa"}
	put(t, s, key, sender)
	put(t, s, other, "other@example.net")
	whole, err := os.ReadFile(entry)
	if err != nil {
		t.Fatal(err)
	}
	others, err := os.ReadFile(filepath.Join(filepath.Dir(entry), other.Token))
	if err != nil {
		t.Fatal(err)
	}
	damage := map[string][]byte{
		"CR LF":                   []byte(strings.Replace(string(whole), "\n", "\r\n", 1)),
		"CR LF inside":            []byte(strings.Replace(string(whole), "@", "\r\n@", 1)),
		"1 MB":                    []byte(strings.Repeat(string(whole), 1<<20/len(whole))),
		"one octet changed":       []byte(strings.Replace(string(whole), "example.net", "example.org", 1)),
		"the entry of another":    others,
		"another version":         []byte(strings.Replace(string(whole), "postmend 1", "postmend 2", 1)),
		"zeros, as after a crash": make([]byte, len(whole)),
	}
	for n := range whole {
		damage[fmt.Sprintf("cut to %d octets", n)] = whole[:n]
	}
	for name, content := range damage {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(entry, content, 0o600); err != nil {
				t.Fatal(err)
			}
			wantTrouble(t, s, key)
			put(t, s, key, sender)
			wantSender(t, s, key, sender)
		})
	}
}

func TestWhatIsNotAFileOfTheOwnersIsNotRead(t *testing.T) {
	for name, place := range map[string]func(entry string) error{
		"a symbolic link": func(entry string) error {
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			if err := os.Rename(entry, elsewhere); err != nil {
				return err
			}
			return os.Symlink(elsewhere, entry)
		},
		"a pipe": func(entry string) error {
			return errors.Join(os.Remove(entry), syscall.Mkfifo(entry, 0o600))
		},
		"a folder": func(entry string) error { return errors.Join(os.Remove(entry), os.Mkdir(entry, 0o700)) },
		"another's file": func(entry string) error {
			if os.Geteuid() != 0 {
				return nil
			}
			return os.Chown(entry, 65534, 65534)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, entry := newFiles(t)
			put(t, s, key, sender)
			if err := place(entry); err != nil {
				t.Fatal(err)
			}
			if name == "another's file" && os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			wantTrouble(t, s, key)
		})
	}
}

func TestAFolderThatOthersMayChangeIsNotUsed(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"a symbolic link": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"2"), os.Symlink(dir+"2", dir))
		},
		"group may read": func(dir string) error { return os.Chmod(dir, 0o750) },
		"all may write":  func(dir string) error { return os.Chmod(dir, 0o707) },
		"a file": func(dir string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir, _ := newFiles(t)
			put(t, s, key, sender)
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			wantTrouble(t, s, key)
			if err := s.Put(t.Context(), key, sender); err == nil {
				t.Error("Put took it")
			}
		})
	}
}

// The rest of the checks on accounts runs in tests/, as another account.
func TestAFolderOfAnotherAccountIsNotUsed(t *testing.T) {
	var is unix.Stat_t
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o700), unix.Stat(dir, &is)); err != nil {
		t.Fatal(err)
	}
	is.Uid = 1000
	if err := checkFolder(dir, &is, 1001); err == nil || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("got %v", err)
	}
	for _, account := range []int{1000, 0} {
		if err := checkFolder(dir, &is, account); err != nil {
			t.Errorf("for uid %d: %v", account, err)
		}
	}
}

func TestAFolderThatIsGoneIsTroubleForWhoReads(t *testing.T) {
	s, dir, _ := newFiles(t)
	put(t, s, key, sender)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	wantTrouble(t, s, key)
}

func TestTwoWritersAtOnceDoNotDisturbEachOther(t *testing.T) {
	_, dir, _ := newFiles(t)
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			s := at(t, "dir:"+dir, morning)
			for n := range 50 {
				key := srs.Key{Day: key.Day, Token: "ab" + token(n)[2:]}
				if err := s.Put(context.Background(), key, key.Token+sender); err != nil {
					t.Error(err)
				}
				if got, err := s.Get(context.Background(), key); got != key.Token+sender || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	writers.Wait()
}

func TestWhatACrashLeavesBehindIsNeitherReadNorKept(t *testing.T) {
	s, dir, entry := newFiles(t)
	put(t, s, key, sender)
	left := filepath.Join(filepath.Dir(entry), "."+key.Token+".x")
	if err := os.Rename(entry, left); err != nil { // as before the rename
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), key); !errors.Is(err, srs.ErrUnknown) {
		t.Errorf("read: %v", err)
	}
	if found := list(t, s); len(found) != 0 {
		t.Errorf("listed: %v", found)
	}
	later := at(t, "dir:"+dir, morning.AddDate(0, 0, 30))
	if _, err := later.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("kept: %v, %v", names, err)
	}
}

func list(t testing.TB, s Store) (found []Entry) {
	t.Helper()
	if err := s.List(t.Context(), func(e Entry) error { found = append(found, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

func TestEntriesLiveLongerThanTheirAliasesAndGoByThemselves(t *testing.T) {
	s, dir, _ := newFiles(t)
	for n := range 100 {
		put(t, s, srs.Key{Day: key.Day, Token: token(n)}, sender)
	}
	for days := range 24 { // valid for 21 days, and on a host whose clock is a day late
		now := at(t, "dir:"+dir, morning.AddDate(0, 0, days))
		put(t, now, srs.Key{Day: key.Day + int64(days), Token: key.Token}, sender)
	}
	for n := range 100 {
		wantSender(t, s, srs.Key{Day: key.Day, Token: token(n)}, sender)
	}
	for days := 26; days < 40; days++ {
		now := at(t, "dir:"+dir, morning.AddDate(0, 0, days))
		put(t, now, srs.Key{Day: key.Day + int64(days), Token: key.Token}, sender)
	}
	for n := range 100 {
		_, err := s.Get(t.Context(), srs.Key{Day: key.Day, Token: token(n)})
		if !errors.Is(err, srs.ErrUnknown) {
			t.Fatalf("entry %d has not been removed by those that came later: %v", n, err)
		}
	}
}

func token(n int) string {
	return strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(fmt.Sprintf("%020d", n))
}

func TestAClockThatGoesBackByAMonthLosesNothing(t *testing.T) {
	s, dir, _ := newFiles(t)
	put(t, s, key, sender)
	back := at(t, "dir:"+dir, morning.AddDate(0, -1, 0))
	earlier := srs.Key{Day: key.Day - 31, Token: key.Token}
	put(t, back, earlier, sender)
	wantSender(t, back, earlier, sender)
	if removed, err := back.Prune(t.Context()); removed != 0 || err != nil {
		t.Errorf("removed %d, %v", removed, err)
	}
	wantSender(t, s, key, sender)
}

func TestAClockThatIsAYearAheadForADayLosesNothing(t *testing.T) {
	s, dir, _ := newFiles(t)
	put(t, s, key, sender)
	for hour := range 24 {
		now := morning.AddDate(1, 0, 0).Add(time.Duration(hour) * time.Hour)
		put(t, at(t, "dir:"+dir, now), srs.Key{Day: now.Unix() / 86400, Token: token(hour)}, sender)
	}
	wantSender(t, s, key, sender)
}

func TestAFullStoreTakesNothingMoreAndKeepsWhatItHas(t *testing.T) {
	s, _, entry := newFiles(t)
	put(t, s, key, sender)
	for n := range maxInShard - 1 {
		put(t, s, srs.Key{Day: key.Day, Token: "ab" + token(n)[2:]}, sender)
	}
	err := s.Put(t.Context(), srs.Key{Day: key.Day, Token: "abzzzzzzzzzzzzzzzzzz"}, sender)
	if !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	put(t, s, key, sender) // it is there
	wantSender(t, s, key, sender)
	if names, err := os.ReadDir(filepath.Dir(entry)); err != nil || len(names) != maxInShard {
		t.Errorf("%d entries, %v", len(names), err)
	}
}

func TestWhatIsNoKeyOrNoSenderTouchesNothing(t *testing.T) {
	s, dir, _ := newFiles(t)
	for _, bad := range []srs.Key{{}, {Day: key.Day}, {Day: -1, Token: key.Token},
		{Day: key.Day, Token: "../../../../etc/pass"}, {Day: 1 << 40, Token: key.Token}} {
		if err := s.Put(t.Context(), bad, sender); err == nil {
			t.Errorf("Put took %v", bad)
		}
		wantTrouble(t, s, bad)
	}
	for _, bad := range []string{"", "a@b\n", "a@b\r", "\x00@b", strings.Repeat("x", maxEntry)} {
		if err := s.Put(t.Context(), key, bad); err == nil {
			t.Errorf("Put took %q", bad)
		}
	}
	if names, err := os.ReadDir(dir); err == nil && len(names) != 0 {
		t.Errorf("made %v", names)
	}
}

func BenchmarkFiles(b *testing.B) {
	s, _, _ := newFiles(b)
	entry := func(n int) srs.Key { return srs.Key{Day: key.Day, Token: reversed(token(n))} }
	n := 0
	b.Run("put", func(b *testing.B) {
		for b.Loop() {
			n++
			if err := s.Put(b.Context(), entry(n%50_000), sender); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Get(b.Context(), entry(1)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func reversed(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

func TestWhatRootStoresIsTheAccounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	const account = 65534
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, account, account)); err != nil {
		t.Fatal(err)
	}
	if err := at(t, "dir:"+dir, morning).Put(t.Context(), key, sender); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if seen++; ownerOf(info) != account || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: of uid %d, %v", path, ownerOf(info), info.Mode())
		}
		return nil
	})
	if err != nil || seen != 4 {
		t.Errorf("%d files and folders, %v", seen, err)
	}
}
