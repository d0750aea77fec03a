package store

import (
	"context"
	"errors"
	"io/fs"
	"slices"
)

// Prune implements Store.
func (s *files) Prune(ctx context.Context) (removed int, err error) {
	root, err := s.open()
	if err != nil {
		return 0, err
	}
	defer root.Close()
	for {
		n, err := s.prune(root, 10*pruneAtOnce)
		removed += n
		if err = errors.Join(err, ctx.Err()); err != nil || n < 10*pruneAtOnce {
			return removed, err
		}
	}
}

// confirmsClock tells whether the store has entries of the day before yesterday, or earlier, that have not
// expired. Otherwise the clock may have jumped, and what seems to have expired is still needed once it is
// right again.
func (s *files) confirmsClock(f *folder) bool {
	days, _ := f.names(".")
	today := s.life.now().Unix() / 86400
	return slices.ContainsFunc(days, func(date string) bool {
		day, ok := parseDay(date)
		return ok && day < today-1 && !s.life.expired(day)
	})
}

// prune removes entries of expired days, up to a limit. Several processes may do so at the same time.
func (s *files) prune(f *folder, limit int) (removed int, err error) {
	days, err := f.names(".")
	if err != nil {
		return 0, err
	}
	for _, date := range days {
		if day, ok := parseDay(date); !ok || !s.life.expired(day) {
			continue
		}
		shards, err := f.names(date)
		if err != nil {
			return removed, ignoreMissing(err)
		}
		for _, shard := range shards {
			names, err := f.names(date + "/" + shard)
			if err != nil {
				return removed, ignoreMissing(err)
			}
			for _, name := range names {
				if removed == limit {
					return removed, nil
				}
				if err := f.Remove(date + "/" + shard + "/" + name); ignoreMissing(err) != nil {
					return removed, err
				}
				removed++
			}
			if err := f.Remove(date + "/" + shard); ignoreMissing(err) != nil {
				return removed, err
			}
		}
		if err := f.Remove(date); ignoreMissing(err) != nil {
			return removed, err
		}
	}
	return removed, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
