#if canImport(NetworkExtension)
    import Foundation
    import Network
    import NetworkExtension

    extension TunnelConfig {
        /// What a packet-tunnel provider sets before it starts WireGuard: the device's addresses, what is
        /// routed into the tunnel, its resolvers and its MTU.
        public func networkSettings() -> NEPacketTunnelNetworkSettings {
            let gate = endpoint.map { String($0.prefix(upTo: $0.lastIndex(of: ":") ?? $0.endIndex)) }
            let settings = NEPacketTunnelNetworkSettings(
                tunnelRemoteAddress: (gate ?? "127.0.0.1").trimmingCharacters(
                    in: CharacterSet(charactersIn: "[]")))
            let own = addresses.compactMap(Prefix.init)
            let routed = allowedIPs.compactMap(Prefix.init)
            let four = NEIPv4Settings(
                addresses: own.filter { !$0.isSix }.map(\.address),
                subnetMasks: own.filter { !$0.isSix }.map(\.mask))
            four.includedRoutes = routed.filter { !$0.isSix }.map {
                NEIPv4Route(destinationAddress: $0.address, subnetMask: $0.mask)
            }
            settings.ipv4Settings = four
            let six = NEIPv6Settings(
                addresses: own.filter(\.isSix).map(\.address),
                networkPrefixLengths: own.filter(\.isSix).map { NSNumber(value: $0.length) })
            six.includedRoutes = routed.filter(\.isSix).map {
                NEIPv6Route(
                    destinationAddress: $0.address, networkPrefixLength: NSNumber(value: $0.length))
            }
            settings.ipv6Settings = six
            if !dns.isEmpty {
                settings.dnsSettings = NEDNSSettings(servers: dns)
            }
            settings.mtu = mtu.map { NSNumber(value: $0) }
            return settings
        }
    }

    /// An address with the length of its network.
    private struct Prefix {
        let address: String
        let length: Int

        init?(_ text: String) {
            let parts = text.split(separator: "/")
            guard parts.count == 2, let length = Int(parts[1]) else { return nil }
            address = String(parts[0])
            self.length = length
        }

        var isSix: Bool { address.contains(":") }

        var mask: String {
            let bits = length == 0 ? 0 : UInt32.max << UInt32(32 - min(length, 32))
            return (0..<4).map { String((bits >> UInt32(24 - 8 * $0)) & 255) }.joined(separator: ".")
        }
    }

    /// Tells a client whenever the device's network changed, until it is let go of.
    public final class NetworkWatch: Sendable {
        private let monitor = NWPathMonitor()

        public init(_ client: Client) {
            monitor.pathUpdateHandler = { [weak client] _ in
                try? client?.networkChanged()  // a client that has stopped needs to know no more
            }
            monitor.start(queue: DispatchQueue(label: "mfagate.network"))
        }

        deinit {
            monitor.cancel()
        }
    }
#endif
