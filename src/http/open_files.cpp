#include "http/open_files.h"

#include <new>

#include "net/file_pool.h"

namespace pyre::http {

// On its way through the file pool. It holds all that its thread reads, and comes back by mail even when nobody waits
// any more.
struct OpenFiles::Lookup : net::FilePool::CallRequest {
  Lookup(OpenFiles& o, Entry& e, const StaticFiles::Route& r, StaticName n) noexcept
      : CallRequest(&Lookup::delivered, &Lookup::load),
        owner(&o),
        entry(&e),
        files(o.files_),
        route(&r),
        name(n.name),
        folder(n.folder),
        now(o.loop_.wall_second()) {}
  static void load(CallRequest& request) noexcept {
    auto& self = static_cast<Lookup&>(request);
    self.result = FileSet::load(*self.route->directory, self.name, self.folder, self.files->cache_line(), self.now);
  }
  static void delivered(net::Letter& letter) noexcept {
    std::unique_ptr<Lookup> self(&static_cast<Lookup&>(letter));
    if (self->owner != nullptr) self->owner->finish(*self);
  }

  OpenFiles* owner;  // null: it is gone
  Entry* entry;
  std::shared_ptr<const StaticFiles> files;
  const StaticFiles::Route* route;
  std::string name;
  bool folder;
  std::int64_t now;
  FileSet result;
};

OpenFiles::OpenFiles(net::Loop& loop, std::shared_ptr<const StaticFiles> files, Waiter& waiter,
                     std::size_t max_waiting) noexcept
    : loop_(loop), files_(std::move(files)), waiter_(waiter), max_waiting_(max_waiting) {}

OpenFiles::~OpenFiles() {
  for (auto& [key, entry] : entries_)
    if (entry.lookup != nullptr) entry.lookup->owner = nullptr;
}

void OpenFiles::link(Entry& entry) noexcept {
  List& list = list_of(entry);
  entry.older = list.ends.older;
  entry.newer = &list.ends;
  entry.older->newer = &entry;
  list.ends.older = &entry;
  ++list.size;
}

void OpenFiles::unlink(Entry& entry) noexcept {
  entry.older->newer = entry.newer;
  entry.newer->older = entry.older;
  --list_of(entry).size;
}

void OpenFiles::forget(Entry& entry) noexcept {
  descriptors_ -= entry.set.descriptors();
  entries_.erase(entries_.find(*entry.key));
}

// ends.newer is the oldest, ends.older the newest.
void OpenFiles::trim() noexcept {
  const auto drop_oldest = [this](List& list) {
    auto& oldest = static_cast<Entry&>(*list.ends.newer);
    unlink(oldest);
    forget(oldest);
  };
  while (present_.size > kMaxFiles || (descriptors_ > kMaxDescriptors && present_.size > 1)) drop_oldest(present_);
  while (missing_.size > kMaxMissing) drop_oldest(missing_);
}

OpenFiles::Look OpenFiles::look_up(const StaticFiles::Route& route, StaticName name, Exchange& exchange,
                                   const FileSet*& set) noexcept {
  key_.assign(route.prefix).append("//").append(name.name);  // no servable name and no prefix has "//" in it
  if (name.folder) key_.push_back('/');
  auto found = entries_.find(std::string_view(key_));
  if (found == entries_.end()) {
    found = entries_.try_emplace(key_).first;
    Entry& entry = found->second;
    entry.key = &found->first;
    if (!start(entry, route, name)) {
      entries_.erase(found);
      return Look::busy;
    }
  }
  Entry& entry = found->second;
  if (entry.lookup == nullptr) {
    unlink(entry);
    if (loop_.now() - entry.checked < kFresh) {
      link(entry);
      set = &entry.set;
      return Look::found;
    }
    const bool is_file = entry.set.kind == FileSet::Kind::file;
    entry.in_demand = is_file && loop_.now() - entry.checked < kInDemand;
    if (!start(entry, route, name)) {
      if (is_file) {
        link(entry);
        set = &entry.set;
        return Look::found;
      }
      forget(entry);
      return Look::busy;
    }
  }
  if (entry.in_demand) {
    set = &entry.set;
    return Look::found;
  }
  if (waiting_ >= max_waiting_) return Look::busy;
  ++waiting_;
  exchange.app_next = entry.waiting;
  entry.waiting = &exchange;
  return Look::waits;
}

bool OpenFiles::start(Entry& entry, const StaticFiles::Route& route, StaticName name) noexcept {
  net::FilePool* pool = loop_.files();
  std::unique_ptr<Lookup> lookup(new (std::nothrow) Lookup(*this, entry, route, name));
  if (pool == nullptr || lookup == nullptr || pool->submit(loop_, *lookup) != platform::Errc::ok) return false;
  entry.lookup = lookup.release();
  return true;
}

void OpenFiles::finish(Lookup& lookup) noexcept {
  Entry& entry = *lookup.entry;
  entry.lookup = nullptr;
  entry.in_demand = false;
  if (lookup.result.kind != FileSet::Kind::shortage || entry.set.kind != FileSet::Kind::file) {
    descriptors_ -= entry.set.descriptors();
    // What is as it was stays the same object: who is being sent it must not hold one descriptor for each second.
    for (std::size_t i = 0; i < kCodings; ++i) {
      const auto& old = entry.set.variants[i];
      auto& found = lookup.result.variants[i];
      if (old != nullptr && found != nullptr && old->lines() == found->lines() && old->size() == found->size())
        found = std::move(entry.set.variants[i]);
    }
    entry.set = std::move(lookup.result);
    descriptors_ += entry.set.descriptors();
  }
  entry.checked = loop_.now();
  Exchange* waiting = entry.waiting;
  entry.waiting = nullptr;
  for (int count = 0; waiting != nullptr; ++count) {
    --waiting_;
    auto* next = static_cast<Exchange*>(waiting->app_next);
    waiting->app_next = nullptr;
    if (count < kMaxAtOnce)
      waiter_.on_found(*waiting, entry.set);
    else
      waiter_.on_turn(*waiting);
    waiting = next;
  }
  if (entry.set.kind == FileSet::Kind::shortage) {
    forget(entry);
  } else {
    link(entry);
    trim();
  }
}

void OpenFiles::release_dead() noexcept {
  for (auto& [key, entry] : entries_) {
    Exchange* waiting = entry.waiting;
    entry.waiting = nullptr;
    while (waiting != nullptr) {
      auto* next = static_cast<Exchange*>(waiting->app_next);
      if (waiting->dead()) {
        --waiting_;
        waiting->app_next = nullptr;
        waiting->release();
      } else {
        waiting->app_next = entry.waiting;
        entry.waiting = waiting;
      }
      waiting = next;
    }
  }
}

Exchange* OpenFiles::take_waiting() noexcept {
  for (auto& [key, entry] : entries_) {
    Exchange* exchange = entry.waiting;
    if (exchange == nullptr) continue;
    entry.waiting = static_cast<Exchange*>(exchange->app_next);
    exchange->app_next = nullptr;
    --waiting_;
    return exchange;
  }
  return nullptr;
}

}  // namespace pyre::http
