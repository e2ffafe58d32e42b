#!/usr/bin/env bash
# A Ceph of one node in memory, with its S3 gateway on port 9913 (keys test, testtest), in the folder that is named:
#     apt-get install --no-install-recommends ceph-mon ceph-osd radosgw ceph-common uuid-runtime
#     tests/ceph.sh DIR && PREFLOOM_TEST_S3=http://127.0.0.1:9913 python -m pytest tests/flows/dataset/test_store.py
set -ex
command -v radosgw && command -v ceph && command -v ceph-osd
D="${1:?a folder}"; rm -rf "$D"; mkdir -p $D/mon $D/osd $D/rgw
F=$(uuidgen)
cat > $D/ceph.conf <<C
[global]
fsid = $F
mon_host = 127.0.0.1:16789
mon_initial_members = a
public_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
mon_max_pg_per_osd = 1000
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
osd_pool_default_pg_autoscale_mode = off
mon_data_avail_crit = 1
run_dir = $D
admin_socket = $D/\$name.asok
log_file = $D/\$name.log
pid_file = $D/\$name.pid
[mon.a]
mon_data = $D/mon
[osd.0]
osd_data = $D/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:9913
rgw_data = $D/rgw
C
export CEPH_CONF=$D/ceph.conf
monmaptool --create --addv a [v1:127.0.0.1:16789] --fsid $F $D/monmap
ceph-mon -c $D/ceph.conf --mkfs -i a --monmap $D/monmap
ceph-mon -c $D/ceph.conf -i a --setuser root --setgroup root
for i in $(seq 20); do timeout 5 ceph -c $D/ceph.conf -s && break; sleep 1; done
U=$(uuidgen)
ceph -c $D/ceph.conf osd new $U 0 || true
ceph-osd -c $D/ceph.conf -i 0 --mkfs --osd-uuid $U
ceph-osd -c $D/ceph.conf -i 0 --setuser root --setgroup root
sleep 4
ceph -c $D/ceph.conf osd crush add 0 1.0 host=h root=default || true
ceph -c $D/ceph.conf -s
radosgw -c $D/ceph.conf -n client.rgw --setuser root --setgroup root
sleep 15
radosgw-admin -c $D/ceph.conf -n client.rgw user create --uid test --display-name test --access-key test --secret testtest | tail -3
