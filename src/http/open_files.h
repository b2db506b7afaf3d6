// OpenFiles: the files that one loop serves at the moment, so that a request for one of them costs no system call but
// its send. What is not known, or was not looked at for half a second, is looked up by the file pool; requests for it
// wait. Only a file that was looked at within the last second goes on being served as it was until its look-up is done,
// so that a disk that hangs does not hold up what is in demand, nor a shortage take it away. The loop's thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "http/exchange.h"
#include "http/static_file.h"
#include "http/static_files.h"
#include "http/static_path.h"
#include "net/loop.h"

namespace pyre::http {

class OpenFiles {
 public:
  static constexpr std::size_t kMaxFiles = 512;        // at most 16 KiB each (times four with siblings): 32 MiB
  static constexpr std::size_t kMaxDescriptors = 128;  // of 1,024, which is the usual limit of a process
  static constexpr std::size_t kMaxMissing = 1024;     // for the route "/", below which most paths are the app's
  // After the first a file is looked at again; until the second it is served as it was meanwhile. So a change may go
  // unseen for a second.
  static constexpr std::chrono::milliseconds kFresh{500};
  static constexpr std::chrono::milliseconds kInDemand{1000};
  // Answered in one go when a look-up is done; the others are given back. At some 5 us each that is a millisecond.
  static constexpr int kMaxAtOnce = 256;

  class Waiter {
   public:
    // The look-up that this exchange waited for is done. `set` lives until this returns.
    virtual void on_found(Exchange& exchange, const FileSet& set) noexcept = 0;
    // It is done, and so many waited that this one shall look again.
    virtual void on_turn(Exchange& exchange) noexcept = 0;

   protected:
    ~Waiter() = default;
  };

  // `max_waiting`: exchanges that wait at once. A disk that hangs must not have every connection that is allowed.
  OpenFiles(net::Loop& loop, std::shared_ptr<const StaticFiles> files, Waiter& waiter,
            std::size_t max_waiting) noexcept;
  ~OpenFiles();  // after give_up()
  OpenFiles(const OpenFiles&) = delete;
  OpenFiles& operator=(const OpenFiles&) = delete;

  enum class Look : std::uint8_t {
    found,  // `set` lives until control goes back to the loop
    waits,  // on_found() will be called, even if the exchange is dead by then
    busy,   // too many look-ups are under way, or too many wait for them
  };
  // The exchange's app_next is used while it waits.
  [[nodiscard]] Look look_up(const StaticFiles::Route& route, StaticName name, Exchange& exchange,
                             const FileSet*& set) noexcept;
  // Takes an exchange that waits; null when none does.
  [[nodiscard]] Exchange* take_waiting() noexcept;
  // Releases those that wait and are dead: else clients who come and go would leave a head each while a disk hangs.
  void release_dead() noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }
  [[nodiscard]] std::size_t descriptors() const noexcept { return descriptors_; }

 private:
  struct Lookup;
  // One place in the two lists, by use.
  struct Link {
    Link* older = this;
    Link* newer = this;
  };
  struct Entry : Link {
    const std::string* key = nullptr;  // the map's
    FileSet set;
    platform::TimePoint checked{};
    Lookup* lookup = nullptr;  // under way; meanwhile the entry is in no list
    bool in_demand = false;    // and `set` is a file that is served meanwhile
    Exchange* waiting = nullptr;
  };
  struct List {
    Link ends;
    std::size_t size = 0;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const noexcept { return std::hash<std::string_view>()(key); }
  };

  [[nodiscard]] List& list_of(const Entry& entry) noexcept {
    return entry.set.kind == FileSet::Kind::file ? present_ : missing_;
  }
  void link(Entry& entry) noexcept;
  void unlink(Entry& entry) noexcept;
  void forget(Entry& entry) noexcept;
  void trim() noexcept;
  [[nodiscard]] bool start(Entry& entry, const StaticFiles::Route& route, StaticName name) noexcept;
  void finish(Lookup& lookup) noexcept;

  net::Loop& loop_;
  std::shared_ptr<const StaticFiles> files_;
  Waiter& waiter_;
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> entries_;
  List present_;
  List missing_;
  const std::size_t max_waiting_;
  std::size_t waiting_ = 0;
  std::size_t descriptors_ = 0;
  std::string key_;  // of the present look_up(); keeps its memory
};

}  // namespace pyre::http
