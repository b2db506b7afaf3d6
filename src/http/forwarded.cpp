#include "http/forwarded.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace pyre::http {
namespace {

using platform::Endpoint;
using Family = Endpoint::Family;

constexpr std::string_view kUnknown = "unknown";

// A chain of proxies that is longer than this is a mistake or an attack. Bounds the elements of a Forwarded field that
// are kept in mind; X-Forwarded-For is read from the right and needs no such memory.
constexpr std::size_t kMaxHops = 32;
// The longest DNS name.
constexpr std::size_t kMaxName = 253;

constexpr bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

bool equals_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

// The static text, so that nothing from the head is needed for it.
std::string_view scheme_of(std::string_view text) noexcept {
  for (const std::string_view scheme : {"https", "http", "wss", "ws"})
    if (equals_ignoring_case(text, scheme)) return scheme;
  return {};
}

// No zone: Endpoint::parse() would ask the system for an interface's number on a stranger's word.
bool parse_address(std::string_view text, Endpoint& out) noexcept {
  return text.find('%') == std::string_view::npos && Endpoint::parse(text, out);
}

struct Node {
  enum class Kind : std::uint8_t { malformed, address, name };
  Kind kind = Kind::malformed;
  Endpoint address;       // its port also for a name
  std::string_view name;  // without the port
};

// "1.2.3.4", "1.2.3.4:80", "::1", "[::1]:80", or a name: "unknown", "_hidden", "proxy7:80".
Node parse_node(std::string_view text) noexcept {
  Node node;
  if (parse_address(text, node.address)) {
    node.kind = Node::Kind::address;
    return node;
  }
  node.address = {};
  const bool visible = std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != ',' && c != ';';
  });
  if (text.empty() || text.size() > kMaxName || !visible) return node;
  node.kind = Node::Kind::name;
  node.name = text;
  const std::size_t colon = text.find(':');
  if (colon != std::string_view::npos && colon != 0 && text.find(':', colon + 1) == std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error == std::errc{} && end == digits.data() + digits.size()) {
      node.name = text.substr(0, colon);
      node.address.port = port;
    }
  }
  return node;
}

bool is_trusted(const Node& node, const TrustedProxies& trusted) noexcept {
  if (node.kind == Node::Kind::address) return trusted.trusts(node.address);
  return node.kind == Node::Kind::name && trusted.trusts_text(node.name);
}

void set_client(const Node& node, ForwardedInfo& out) noexcept {
  out.client_set = true;
  out.client = node.address;
  out.client_text = {};
  if (node.kind == Node::Kind::name) out.client_text = node.name;
  if (node.kind == Node::Kind::malformed) {
    out.client = {};
    out.client_text = kUnknown;
  }
}

// From the right, over all fields as if they were one; stops at the client.
void apply_x_forwarded_for(const RequestHead& head, const TrustedProxies& trusted, ForwardedInfo& out) noexcept {
  for (std::size_t i = head.fields.size(); i-- > 0;) {
    const HeaderField& field = head.fields[i];
    if (field.id != HeaderName::x_forwarded_for) continue;
    std::string_view rest = head.value(field);
    for (bool last = false; !last;) {
      const std::size_t comma = rest.rfind(',');
      last = comma == std::string_view::npos;
      const std::string_view item = trim(last ? rest : rest.substr(comma + 1));
      if (!last) rest = rest.substr(0, comma);
      if (item.empty()) continue;
      const Node node = parse_node(item);
      set_client(node, out);  // the left-most one so far
      if (!is_trusted(node, trusted)) return;
    }
  }
}

void apply_x_forwarded_proto(const RequestHead& head, ForwardedInfo& out) noexcept {
  for (std::size_t i = head.fields.size(); i-- > 0;) {
    const HeaderField& field = head.fields[i];
    if (field.id != HeaderName::x_forwarded_proto) continue;
    out.scheme = scheme_of(trim(head.value(field)));
    return;
  }
}

struct Element {
  bool has_for = false;
  std::string_view for_text;
  std::string_view scheme;
};

// RFC 7239 4, from left to right (a quoted string cannot be read backwards); lenient as senders are: blanks around ";",
// and unquoted values with ":" and brackets. False if it is not even that.
class ForwardedReader {
 public:
  explicit ForwardedReader(std::string_view value) noexcept : rest_(value) {}

  [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }

  [[nodiscard]] bool next(Element& out) noexcept {
    out = {};
    for (;;) {
      skip_blanks();
      if (rest_.empty()) return true;
      if (take(',')) return true;
      if (take(';')) continue;
      const std::size_t equals = rest_.find_first_of("=,;\" \t");
      if (equals == std::string_view::npos || equals == 0 || rest_[equals] != '=') return false;
      const std::string_view name = rest_.substr(0, equals);
      rest_.remove_prefix(equals + 1);
      std::string_view value;
      if (!take_value(value)) return false;
      if (equals_ignoring_case(name, "for")) {
        if (out.has_for) return false;  // RFC 7239 4: not more than once
        out.has_for = true;
        out.for_text = value;
      } else if (equals_ignoring_case(name, "proto")) {
        out.scheme = scheme_of(value);
      }
      skip_blanks();
      if (!rest_.empty() && rest_.front() != ',' && rest_.front() != ';') return false;
    }
  }

 private:
  void skip_blanks() noexcept {
    while (!rest_.empty() && is_blank(rest_.front())) rest_.remove_prefix(1);
  }

  bool take(char c) noexcept {
    if (rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  // A quoted value keeps its backslashes; no address has any, and parse_node() refuses them.
  bool take_value(std::string_view& value) noexcept {
    if (!rest_.empty() && rest_.front() == '"') {
      for (std::size_t i = 1; i < rest_.size(); ++i) {
        if (rest_[i] == '\\') {
          ++i;
        } else if (rest_[i] == '"') {
          value = rest_.substr(1, i - 1);
          rest_.remove_prefix(i + 1);
          return true;
        }
      }
      return false;  // not closed: a client's part may have swallowed the proxy's
    }
    const std::size_t end = std::min(rest_.find_first_of(",;\" \t"), rest_.size());
    value = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return true;
  }

  std::string_view rest_;
};

// True when the client was found (or it cannot be): fields further left do not count.
bool apply_forwarded_field(std::string_view value, const TrustedProxies& trusted, ForwardedInfo& out) noexcept {
  std::array<Element, kMaxHops> elements;  // the right-most ones, as a ring
  std::size_t count = 0;
  for (ForwardedReader reader(value); !reader.at_end();) {
    Element element;
    if (!reader.next(element)) {
      set_client({}, out);
      return true;
    }
    if (!element.has_for && element.scheme.empty()) continue;  // an empty one, or only "by" or "host"
    // Everything is trusted: only the left-most counts, and the rest is just checked.
    if (trusted.everything() && count != 0) continue;
    elements[count++ % kMaxHops] = element;
  }
  for (std::size_t i = count; i-- > 0;) {
    if (count - i > kMaxHops) {
      set_client({}, out);
      return true;
    }
    const Element& element = elements[i % kMaxHops];
    out.scheme = element.scheme;
    // This proxy does not say who spoke to it: then whoever named it is the client as far as is known.
    if (!element.has_for) return true;
    const Node node = parse_node(element.for_text);
    set_client(node, out);
    if (!is_trusted(node, trusted)) return true;
  }
  return false;
}

void apply_forwarded_fields(const RequestHead& head, const TrustedProxies& trusted, ForwardedInfo& out) noexcept {
  for (std::size_t i = head.fields.size(); i-- > 0;) {
    const HeaderField& field = head.fields[i];
    if (field.id == HeaderName::forwarded && apply_forwarded_field(head.value(field), trusted, out)) return;
  }
}

}  // namespace

bool TrustedProxies::parse(std::string_view list, std::string& bad) {
  if (trim(list).empty()) return true;
  for (bool last = false; !last;) {
    const std::size_t comma = list.find(',');
    last = comma == std::string_view::npos;
    const std::string_view item = trim(list.substr(0, comma));
    if (!last) list.remove_prefix(comma + 1);
    bad = item;
    if (item.empty()) return false;
    if (item == "*") {
      everything_ = true;
      continue;
    }
    if (item == "unix:") {
      unix_ = true;
      continue;
    }
    Network network;
    const std::size_t slash = item.find('/');
    if (slash == std::string_view::npos) {
      if (!Endpoint::parse(item, network.base)) {
        literals_.emplace_back(item);
        continue;
      }
      if (network.base.port != 0) return false;
      network.base.scope_id = 0;
      network.prefix = network.base.family == Family::ipv4 ? 32 : 128;
      networks_.push_back(network);
      continue;
    }
    const std::string_view base = item.substr(0, slash);
    const std::string_view digits = item.substr(slash + 1);
    unsigned prefix = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
    if (error != std::errc{} || end != digits.data() + digits.size() || !Endpoint::parse(base, network.base) ||
        network.base.port != 0) {
      return false;
    }
    if (network.base.family == Family::ipv4 && base.find(':') != std::string_view::npos) {
      if (prefix < 96) return false;  // "::ffff:10.0.0.0/104" is stored as what it maps
      prefix -= 96;
    }
    const unsigned bits = network.base.family == Family::ipv4 ? 32 : 128;
    if (prefix > bits) return false;
    for (unsigned bit = prefix; bit < bits; ++bit)
      if ((network.base.address[bit / 8] & (0x80U >> (bit % 8))) != 0) return false;
    network.prefix = static_cast<std::uint8_t>(prefix);
    networks_.push_back(network);
  }
  bad.clear();
  return true;
}

bool TrustedProxies::empty() const noexcept { return !everything_ && !unix_ && networks_.empty() && literals_.empty(); }

bool TrustedProxies::trusts_address(const Endpoint& address) const noexcept {
  for (const Network& network : networks_) {
    if (network.base.family != address.family) continue;
    const std::size_t bytes = network.prefix / 8;
    if (!std::equal(network.base.address.begin(), network.base.address.begin() + static_cast<std::ptrdiff_t>(bytes),
                    address.address.begin())) {
      continue;
    }
    const unsigned bits = network.prefix % 8;
    if (bits == 0 || ((network.base.address[bytes] ^ address.address[bytes]) >> (8 - bits)) == 0) return true;
  }
  return false;
}

bool TrustedProxies::trusts(const Endpoint& peer) const noexcept {
  if (everything_) return true;
  if (peer.family == Family::unix_socket) return unix_;
  return peer.family != Family::unknown && trusts_address(peer);
}

bool TrustedProxies::trusts_text(std::string_view name) const noexcept {
  if (everything_) return true;
  if (Endpoint address; parse_address(name, address)) return trusts_address(address);
  return std::find(literals_.begin(), literals_.end(), name) != literals_.end();
}

void apply_forwarded(const RequestHead& head, const Endpoint& peer, const TrustedProxies& trusted,
                     ForwardedInfo& out) noexcept {
  out = {};
  bool x_forwarded = false;
  bool forwarded = false;
  for (const HeaderField& field : head.fields) {
    x_forwarded |= field.id == HeaderName::x_forwarded_for || field.id == HeaderName::x_forwarded_proto;
    forwarded |= field.id == HeaderName::forwarded;
  }
  if ((!x_forwarded && !forwarded) || !trusted.trusts(peer)) return;
  if (x_forwarded) {
    apply_x_forwarded_for(head, trusted, out);
    apply_x_forwarded_proto(head, out);
  } else {
    apply_forwarded_fields(head, trusted, out);
  }
}

}  // namespace pyre::http
